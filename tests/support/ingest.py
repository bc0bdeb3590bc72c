"""Streams of IngestLiveData for tests, and entries to send."""

import queue

import grpc
import pytest
from energysites.v1 import live_data_pb2

from support.calls import JUNE, entry, failure_of, stamp


class Ingest:
    """One stream: `send` and `end` write, the other methods read."""

    def __init__(self, stubs, session="meter", acknowledged=0, start=True, timeout=60):
        self._requests = queue.SimpleQueue()
        self.call = stubs.live_data.IngestLiveData(iter(self._requests.get, None), timeout=timeout)
        if start:
            self.start(session, acknowledged)

    def start(self, session="meter", acknowledged=0):
        start = live_data_pb2.IngestStart(session=session, acknowledged_sequence=acknowledged)
        self.send_request(live_data_pb2.IngestLiveDataRequest(start=start))

    def send(self, sequence, entries):
        batch = live_data_pb2.IngestBatch(sequence=sequence, entries=entries)
        self.send_request(live_data_pb2.IngestLiveDataRequest(batch=batch))

    def send_request(self, request):
        self._requests.put(request)

    def end(self):
        self._requests.put(None)

    def answer(self):
        return next(self.call)

    def until(self, sequence):
        """The responses up to the one that acknowledges `sequence`."""
        answers = [self.answer()]
        while answers[-1].committed_sequence < sequence:
            answers.append(self.answer())
        return answers

    def rest(self):
        """Ends the stream with OK and returns the remaining responses."""
        self.end()
        answers = list(self.call)
        assert self.call.code() == grpc.StatusCode.OK
        return answers

    def failure(self):
        """The error of the stream; ignores its responses."""
        with pytest.raises(grpc.RpcError) as raised:
            list(self.call)
        self.end()
        return failure_of(raised.value)


def numbered(site_id, first, count):
    """Entries that load_kwh identifies."""
    return [
        entry(site_id, dt_stamp=stamp(JUNE + number), load_kwh=number)
        for number in range(first, first + count)
    ]


def numbers_stored(database):
    """The numbers of the entries stored, in order."""
    rows = database.query("SELECT load_kwh::bigint FROM live_data ORDER BY load_kwh")
    return [number for (number,) in rows]


def refused(answers):
    """The refused entries in the responses: sequence -> RefusedEntries."""
    found = {}
    for answer in answers:
        for batch in answer.refused:
            assert batch.sequence not in found and batch.sequence <= answer.committed_sequence
            found[batch.sequence] = batch
    return found
