"""Well-behaved clients, to tell what others feel of an attack."""

import concurrent.futures
import threading
import time

import grpc
from energysites.v1 import live_data_pb2, sites_pb2
from support.calls import JUNE, create_site, entry, stamp
from support.process import wait_until

PAUSE_SECONDS = 0.005
NEWCOMER_PAUSE_SECONDS = 0.25


class Caller:
    """Reads and writes over one connection until `stop`, and checks every answer."""

    def __init__(self, stubs):
        self._stubs = stubs
        self._site = create_site(self._stubs)
        self._number = 0
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.milliseconds = []
        self.wrong = []

    def start(self):
        self._thread.start()

    def stop(self):
        self._stopping.set()
        self._thread.join(60)
        assert not self._thread.is_alive()
        self._stubs.close()

    def take_milliseconds(self):
        """What each call took since the last time."""
        taken, self.milliseconds = self.milliseconds, []
        return taken

    def _run(self):
        while not self._stopping.wait(PAUSE_SECONDS):
            start = time.monotonic()
            try:
                self._call()
            except (AssertionError, grpc.RpcError) as error:
                self.wrong.append(repr(error))
            self.milliseconds.append((time.monotonic() - start) * 1000)

    def _call(self):
        self._number += 1
        if self._number % 2:
            request = sites_pb2.GetSiteRequest(id=self._site.id)
            assert self._stubs.sites.GetSite(request, timeout=30) == self._site
        else:
            sent = entry(self._site.id, dt_stamp=stamp(JUNE + self._number))
            request = live_data_pb2.CreateLiveDataEntryRequest(live_data_entry=sent)
            stored = self._stubs.live_data.CreateLiveDataEntry(request, timeout=30)
            assert stored.id > 0 and stored.dt_stamp == sent.dt_stamp and stored.soc == sent.soc


class Newcomers:
    """A client after another, each over a connection of its own, while in its context."""

    def __init__(self, is_served):
        """`is_served()` says it of one."""
        self.milliseconds = []
        self.refused = 0
        self._is_served = is_served
        self._stopping = threading.Event()
        self._thread = concurrent.futures.ThreadPoolExecutor(1)

    def __enter__(self):
        self._running = self._thread.submit(self._run)
        wait_until(lambda: self.milliseconds, 60, "the first one is served")
        return self

    def __exit__(self, *_):
        self._stopping.set()
        self._running.result(60)

    def _run(self):
        while not self._stopping.wait(NEWCOMER_PAUSE_SECONDS):
            start = time.monotonic()
            if self._is_served():
                self.milliseconds.append((time.monotonic() - start) * 1000)
            else:
                self.refused += 1


def p99(milliseconds):
    return sorted(milliseconds)[int(len(milliseconds) * 0.99)]
