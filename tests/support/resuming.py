"""Clients of the two streams that resume after a server stops, as the contract describes."""

import collections
import itertools
import threading

import grpc
from energysites.v1 import live_data_pb2

from support.ingest import Ingest, numbered
from support.process import wait_until

BATCHES_AT_ONCE = 3
PAUSE_SECONDS = 1


class Resuming:
    """`ends` counts the status codes of its streams before `stop`."""

    def __init__(self, stubs):
        self.ends = collections.Counter()
        self._stubs = stubs
        self._done = False
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self):
        self._over.set()
        self._thread.join(60)
        assert not self._thread.is_alive()

    def _run(self):
        while not self._done:
            try:
                self._stream()
            except grpc.RpcError as error:
                if not self._done:
                    self.ends[error.code().name] += 1


class Follower(Resuming):
    """A watch that continues after its last token."""

    def __init__(self, stubs):
        self.ids, self.token, self._call = [], "", None
        super().__init__(stubs)
        wait_until(lambda: self.token, 60, "the watch begins")

    def _stream(self):
        request = live_data_pb2.WatchLiveDataRequest(resume_token=self.token)
        self._call = self._stubs.live_data.WatchLiveData(request)
        for answer in self._call:
            self.ids.extend(one.id for one in answer.live_data_entries)
            self.token = answer.resume_token

    def stop(self):
        self._done = True
        self._call.cancel()
        super().stop()


class Sender(Resuming):
    """An ingest of batches 1, 2, ... with one entry each, whose `load_kwh` is the batch number.

    It continues after the last committed batch. `stop` ends it with OK.
    """

    def __init__(self, stubs, site_id):
        self.sent = self.acknowledged = 0
        self.site_id = site_id
        super().__init__(stubs)
        wait_until(lambda: self.acknowledged, 60, "the stream begins")

    def _stream(self):
        stream = Ingest(self._stubs, f"meter-{self.site_id}", self.acknowledged, timeout=None)
        try:
            self.acknowledged = stream.answer().committed_sequence
            for sequence in itertools.count(self.acknowledged + 1):
                stream.send(sequence, numbered(self.site_id, sequence, 1))
                self.sent = max(self.sent, sequence)
                if sequence % BATCHES_AT_ONCE == 0:
                    self.acknowledged = stream.until(sequence)[-1].committed_sequence
                    if self._over.wait(PAUSE_SECONDS):
                        break
            stream.rest()
            self._done = True
        finally:
            stream.end()
