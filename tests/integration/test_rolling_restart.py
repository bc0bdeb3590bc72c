"""A new version comes in, one instance after the other, under load: no call fails, and streams go on.

ENERGY_SITES_LONG=1 makes it ten rounds with 300 calls a second and 50 streams.
"""

import collections
import itertools
import os
import queue
import random
import threading
import time

import grpc
from energysites.v1 import live_data_pb2, sites_pb2

from support.calls import create_site, entry, new_uuid, stamp
from support.process import wait_until

LONG = bool(os.environ.get("ENERGY_SITES_LONG"))
ROUNDS, CALLS_A_SECOND, STREAMS = (10, 300, 50) if LONG else (1, 60, 6)
CALLERS = 16
START = 1_700_000_000


class Load:
    """Mixed calls at a steady rate; each outcome counts."""

    def __init__(self, stubs, site_ids):
        self.outcomes = collections.Counter()
        self.created = queue.SimpleQueue()  # Ids of entries that were acknowledged.
        self._stubs, self._site_ids = stubs, site_ids
        self._numbers = itertools.count()
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(CALLERS)]
        for thread in self._threads:
            thread.start()

    def stop(self):
        self._over.set()
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive()

    def _run(self):
        next_call = time.monotonic() + random.random() * CALLERS / CALLS_A_SECOND
        while not self._over.wait(max(0, next_call - time.monotonic())):
            next_call += CALLERS / CALLS_A_SECOND
            try:
                self._call(random.choice(self._site_ids))
                self.outcomes["OK"] += 1
            except grpc.RpcError as error:
                self.outcomes[f"{error.code().name}: {error.details()}"] += 1

    def _call(self, site_id):
        number = next(self._numbers)
        live_data, sites = self._stubs.live_data, self._stubs.sites
        kind = number % 4
        if kind == 0:
            sites.GetSite(sites_pb2.GetSiteRequest(id=site_id), timeout=20)
        elif kind == 1:
            live_data.ListLiveDataEntries(
                live_data_pb2.ListLiveDataEntriesRequest(site_id=site_id, page_size=5), timeout=20
            )
        else:
            stored = live_data.CreateLiveDataEntry(
                live_data_pb2.CreateLiveDataEntryRequest(
                    live_data_entry=entry(site_id, dt_stamp=stamp(START + number)),
                    request_id=new_uuid(),
                ),
                timeout=20,
            )
            self.created.put(stored.id)


class Follower:
    """A watch that goes on behind its last token, as the contract wants it."""

    ENDS = ("UNAVAILABLE",)  # What the contract promises where a server goes.

    def __init__(self, stubs):
        self.ids, self.token, self.ends = [], "", collections.Counter()
        self._stubs, self._call = stubs, None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()
        wait_until(lambda: self.token, 60, "the watch begins")

    def stop(self):
        self._over.set()
        self._call.cancel()
        self._thread.join(30)
        assert not self._thread.is_alive()

    def _follow(self):
        while not self._over.is_set():
            request = live_data_pb2.WatchLiveDataRequest(resume_token=self.token)
            self._call = self._stubs.live_data.WatchLiveData(request)
            try:
                for answer in self._call:
                    self.ids.extend(one.id for one in answer.live_data_entries)
                    self.token = answer.resume_token
            except grpc.RpcError as error:
                if not self._over.is_set():
                    self.ends[error.code().name] += 1


def test_rolling_restart(start_apart, database):
    apart = start_apart(database)
    stubs = apart.stubs()
    site_ids = [create_site(stubs).id for _ in range(5)]
    followers = [Follower(stubs) for _ in range(STREAMS)]
    start = time.monotonic()
    load = Load(stubs, site_ids)
    try:
        for _ in range(ROUNDS):
            for _, server in apart.servers:
                target = load.outcomes["OK"] + 10
                assert server.stop() == 0
                server.start()
                wait_until(lambda target=target: load.outcomes["OK"] >= target, 60, "calls go on")
        load.stop()
        seconds = time.monotonic() - start
        stored = [row[0] for row in database.query("SELECT id FROM live_data ORDER BY xid, id")]
        for follower in followers:
            wait_until(
                lambda follower=follower: len(follower.ids) >= len(stored), 60,
                f"a watch tells all {len(stored)} entries, not {len(follower.ids)}",
            )  # fmt: skip
    finally:
        for follower in followers:
            follower.stop()
        stubs.close()
    assert set(load.outcomes) == {"OK"}, load.outcomes
    acknowledged = [load.created.get() for _ in range(load.created.qsize())]
    assert sorted(acknowledged) == sorted(stored)
    for follower in followers:
        assert follower.ids == stored
        assert set(follower.ends) <= set(Follower.ENDS), follower.ends
    # The streams did move.
    moves = sum(sum(follower.ends.values()) for follower in followers)
    assert moves >= 1
    calls = load.outcomes["OK"]
    print(f"{calls} calls in {seconds:.0f} s, {calls / seconds:.0f} a second; {STREAMS} watches moved"
          f" {moves} times and told {len(stored)} entries each")  # fmt: skip
