"""Sends a file of readings through IngestLiveData, each reading once, whatever stops meanwhile."""

import queue
import sys

import grpc
from energysites.v1 import live_data_pb2
from google.protobuf import json_format
from retry import Backoff

# Enough batches that the server never waits for the client.
MAX_IN_FLIGHT = 8


class Ingest:
    """One entry per line in `readings`, a binary file; `state` is saved at `state_path`."""

    def __init__(self, live_data, state, state_path, readings, batch_lines):
        self._live_data = live_data
        self._state = state
        self._state_path = state_path
        self._readings = readings
        self._batch_lines = batch_lines

    def run(self):
        """Returns when all readings are stored, or refused and reported."""
        backoff = Backoff()
        while True:
            before = self._state.acknowledged
            try:
                return self._stream()
            except grpc.RpcError as error:
                if self._state.acknowledged > before:
                    backoff = Backoff()
                backoff.wait(error)

    def _stream(self):
        requests = queue.SimpleQueue()
        start = live_data_pb2.IngestStart(
            session=self._state.session, acknowledged_sequence=self._state.acknowledged
        )
        requests.put(live_data_pb2.IngestLiveDataRequest(start=start))
        answers = self._live_data.IngestLiveData(iter(requests.get, None))
        try:
            # The first answer says which batches are committed. Those after it are sent again, with
            # the same numbers and the same content.
            self._acknowledge(next(answers))
            begin = self._state.offset
            for sequence, end in self._state.pending:
                requests.put(self._batch(sequence, begin, end))
                begin = end
            while (end := self._next_end(begin)) > begin:
                while len(self._state.pending) >= MAX_IN_FLIGHT:
                    self._acknowledge(next(answers))
                last = self._state.pending[-1][0] if self._state.pending else self._state.acknowledged
                request = self._batch(last + 1, begin, end)
                # On disk before it is sent: the number belongs to these readings from now on.
                self._state.pending.append((last + 1, end))
                self._state.save(self._state_path)
                requests.put(request)
                begin = end
            requests.put(None)
            for answer in answers:
                self._acknowledge(answer)
        finally:
            requests.put(None)

    def _next_end(self, begin):
        """Where the batch that begins there ends. A last line without a line end is not complete."""
        self._readings.seek(begin)
        for _ in range(self._batch_lines):
            line = self._readings.readline()
            if not line.endswith(b"\n"):
                break
            begin += len(line)
        return begin

    def _batch(self, sequence, begin, end):
        self._readings.seek(begin)
        batch = live_data_pb2.IngestBatch(sequence=sequence)
        for line in self._readings.read(end - begin).splitlines():
            entry = json_format.Parse(line, batch.entries.add())
            entry.site_id = self._state.site_id
        return live_data_pb2.IngestLiveDataRequest(batch=batch)

    def _acknowledge(self, answer):
        for refused in answer.refused:
            for index, failure in sorted(refused.failed_entries.items()):
                print(f"batch {refused.sequence}, entry {index}: {failure.message}", file=sys.stderr)
        while self._state.pending and self._state.pending[0][0] <= answer.committed_sequence:
            self._state.acknowledged, self._state.offset = self._state.pending.pop(0)
        if answer.committed_sequence > self._state.acknowledged:
            raise RuntimeError("the server has batches of this session that the state does not have")
        self._state.save(self._state_path)
