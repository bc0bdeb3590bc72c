"""kill -9 of the server under writes: nothing acknowledged is lost, nothing retried is doubled."""

import concurrent.futures
import threading
import time

from energysites.v1 import live_data_pb2

from support.calls import create_site, entry, new_uuid, outcome
from support.process import wait_until
from support.stubs import Stubs

ROUNDS = 20
WRITERS = 4
BATCH = 20
# What a killed server's callers see. The last one: a call that the kill caught at its deadline.
ACCEPTABLE = {"UNAVAILABLE", "CANCELLED", "DEADLINE_EXCEEDED"}


class Writer:
    """Sends single entries and batches in turn, each until it is acknowledged."""

    def __init__(self, number, address, site_id):
        self.acknowledged = {}  # id -> the number that the entry carries
        self.failures = 0
        self._address, self._site_id = address, site_id
        self._next = 1_000_000 * number

    def run(self, over):
        stubs = Stubs(self._address)
        while not over.is_set():
            self._send(stubs.live_data.CreateLiveDataEntry, self._single())
            self._send(stubs.live_data.BatchCreateLiveDataEntries, self._batch())
        stubs.close()

    def _entry(self):
        self._next += 1
        return entry(self._site_id, load_kwh=self._next)

    def _single(self):
        return live_data_pb2.CreateLiveDataEntryRequest(
            live_data_entry=self._entry(), request_id=new_uuid()
        )

    def _batch(self):
        return live_data_pb2.BatchCreateLiveDataEntriesRequest(
            entries=[self._entry() for _ in range(BATCH)], request_id=new_uuid()
        )

    def _send(self, method, request):
        limit = time.monotonic() + 40
        while True:
            answer = outcome(
                lambda *a, **k: method(*a, wait_for_ready=True, **k), request, timeout=10
            )
            if not hasattr(answer, "code"):
                break
            self.failures += 1
            assert answer.code in ACCEPTABLE, answer
            assert time.monotonic() < limit, answer
        for one in getattr(answer, "live_data_entries", [answer]):
            self.acknowledged[one.id] = int(one.load_kwh)


def test_twenty_kills(server, stubs, database):
    site_id = create_site(stubs).id
    writers = [Writer(number, server.address, site_id) for number in range(1, WRITERS + 1)]
    over = threading.Event()

    def total():
        return sum(len(writer.acknowledged) for writer in writers)

    with concurrent.futures.ThreadPoolExecutor(WRITERS) as threads:
        running = [threads.submit(writer.run, over) for writer in writers]
        try:
            for _ in range(ROUNDS):
                before = total()
                wait_until(lambda before=before: total() > before + 60, 30, "writers go on")
                server.kill()
                server.start()
        finally:
            over.set()
        for future in running:
            future.result(timeout=60)
    acknowledged = {}
    for writer in writers:
        assert not acknowledged.keys() & writer.acknowledged.keys(), "an id was given twice"
        acknowledged.update(writer.acknowledged)
    assert sum(writer.failures for writer in writers) >= ROUNDS, "the kills met no call"
    stored = dict(database.query("SELECT id, load_kwh::bigint FROM live_data"))
    assert stored == acknowledged
    assert len(set(stored.values())) == len(stored) > ROUNDS * 60
