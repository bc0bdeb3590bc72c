"""A well-behaved client, to tell what others feel of an attack."""

import threading
import time

import grpc
from energysites.v1 import live_data_pb2, sites_pb2
from support.calls import JUNE, create_site, entry, stamp
from support.stubs import Stubs

PAUSE_SECONDS = 0.005


class Caller:
    """Reads and writes over one connection until `stop`, and checks every answer."""

    def __init__(self, address):
        self._stubs = Stubs(address)
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


def p99(milliseconds):
    return sorted(milliseconds)[int(len(milliseconds) * 0.99)]
