"""Maintenance holds nobody up, and nobody holds up more of it than he uses."""

import contextlib
import threading
import time

import grpc
from energysites.v1 import live_data_pb2, sites_pb2

from support.calls import create_site, entry, stamp
from support.maintenance import (
    A_YEAR, NOW, create, entries_of, fill, let_an_hour_pass, month, month_tables, open_export, owner,
    put_window_back, runs, table, window,
)  # fmt: skip
from support.process import wait_until


class Load:
    """Callers of all kinds, each in a thread, who remember the worst."""

    def __init__(self, stubs, site_id):
        self.slowest = 0
        self.calls = 0
        self.failures = []
        self._stubs = stubs
        self._site_id = site_id
        self._stop = threading.Event()
        kinds = [self._create, self._create, self._batch, self._list, self._list_all, self._site]
        self._threads = [threading.Thread(target=self._repeat, args=(kind,)) for kind in kinds]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _repeat(self, call):
        while not self._stop.is_set():
            start = time.monotonic()
            try:
                call()
            except grpc.RpcError as error:
                self.failures.append((call.__name__, error.code(), error.details()))
            self.slowest = max(self.slowest, time.monotonic() - start)
            self.calls += 1

    def _create(self):
        create(self._stubs, self._site_id, NOW)

    def _batch(self):
        stamps = [NOW, month(-1), month(30)]
        self._stubs.live_data.BatchCreateLiveDataEntries(
            live_data_pb2.BatchCreateLiveDataEntriesRequest(
                entries=[entry(self._site_id, dt_stamp=stamp(int(moment.timestamp())))
                         for moment in stamps]
            ),
            timeout=30,
        )  # fmt: skip

    def _list(self):
        self._stubs.live_data.ListLiveDataEntries(
            live_data_pb2.ListLiveDataEntriesRequest(site_id=self._site_id), timeout=30
        )

    def _list_all(self):
        self._stubs.live_data.ListLiveDataEntries(
            live_data_pb2.ListLiveDataEntriesRequest(order_by="dt_stamp"), timeout=30
        )

    def _site(self):
        made = create_site(self._stubs)
        create(self._stubs, made.id, NOW)
        self._stubs.sites.DeleteSite(sites_pb2.DeleteSiteRequest(id=made.id), timeout=30)


def test_all_goes_on_under_ingest_and_an_open_export(database, start_service):
    # Where live data is read at once by everyone: the export holds on to every partition.
    put_window_back(database, month(-2))
    first = start_service(database, flags=("--maintenance_interval=100ms",))
    writer = first.stubs()
    site_id = create_site(writer).id
    for moment in (month(-15), month(-14), NOW, month(3)):
        create(writer, site_id, moment)
    fill(database, site_id, month(-15), 100_000)
    with contextlib.ExitStack() as export:
        finish = export.enter_context(open_export(database))
        stream = writer.live_data.ExportLiveData(live_data_pb2.ExportLiveDataRequest(), timeout=60)
        exported = next(stream).entry_count
        second = start_service(
            database, flags=(A_YEAR, "--maintenance_interval=100ms"), environment=owner(database)
        )
        wait_until(lambda: let_an_hour_pass(database), 60, "the first look of retention")
        with Load(second.stubs(), site_id) as load:
            for step in ("window", "old_months"):
                wait_until(lambda: runs(second, step, "postponed") >= 3, 60, f"{step} to be postponed")
            # All but what the export holds on to.
            wait_until(lambda: runs(second, "retention", "done") >= 3, 60, "retention to be done")
            for step in ("rollups", "request_ids", "ingest_sessions"):
                before = runs(first, step, "done")
                wait_until(lambda: runs(first, step, "done") >= before + 3, 60, f"{step}")
            assert finish() == 100_004
            exported += sum(answer.entry_count for answer in stream)
            assert exported >= 100_004
            assert {table(month(-15)), table(month(-14))} <= month_tables(database)
            calls_before = load.calls

            # The rest of it, once the export is over.
            export.close()
            wait_until(lambda: window(database)[0] == month(24), 60, "the window to move on")
            wait_until(
                lambda: not {table(month(-15)), table(month(-14))} & month_tables(database),
                60, "the old months to be dropped",
            )  # fmt: skip
            wait_until(lambda: load.calls > calls_before + 20, 60, "calls after it")
    assert load.failures == []
    assert load.slowest < 5
    assert runs(second, "window", "failed") + runs(second, "old_months", "failed") == 0
    # What was moved by the way is where it belongs.
    places = {place for place, _ in entries_of(database).values()}
    assert places == {table(month(-1)), table(NOW), table(month(3)), "live_data_far_future"}
