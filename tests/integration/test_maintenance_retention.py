"""Old months are dropped, whatever is under way in them; their rollups stay."""

import concurrent.futures
import datetime
import threading

import grpc
from energysites.v1 import live_data_pb2

from support.calls import create_site, entry, fail
from support.maintenance import (
    A_YEAR, NOW, UTC, create, entries_of, fill, let_an_hour_pass, maintain, maintain_an_hour_later,
    month, month_tables, open_export, rollups, table, window,
)  # fmt: skip
from support.process import wait_until


def pending(database):
    return database.query("SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhdetachpending")


def test_old_months_are_dropped_and_their_rollups_kept(database, start_service):
    knows_months = start_service(database).stubs()
    site_id = create_site(knows_months).id
    old = [create(knows_months, site_id, moment) for moment in
           (datetime.datetime(1900, 1, 1, tzinfo=UTC), month(-30), month(-13))]  # fmt: skip
    kept = [create(knows_months, site_id, moment) for moment in (month(-11), NOW)]
    maintain(database)
    sums = rollups(database)
    assert len(sums) == 5
    # One entry more, so that there is something to recompute at the last moment.
    old.append(create(knows_months, site_id, month(-13), soc=1))

    # The month that is a year old to the day is not wholly older.
    said = maintain_an_hour_later(database, A_YEAR)
    assert "retention: refuses entries" in said and "old_months: dropped" in said
    assert "past_entries: deleted 1 entries" in said
    assert window(database)[1] in (month(-12), month(-11))
    assert set(entries_of(database)) == {one.id for one in kept}
    assert month_tables(database) == {table(m) for m in (month(-11), *map(month, range(4)))}
    frozen = rollups(database)
    assert len(frozen) == 5 and frozen != sums
    assert database.query("SELECT entries FROM live_data_rollups WHERE soc_min = 1") == [(2,)]
    assert database.query("SELECT * FROM live_data_dirty_buckets") == []

    for stubs in (knows_months, start_service(database).stubs()):
        for one in old:
            request = live_data_pb2.CreateLiveDataEntryRequest(
                live_data_entry=entry(site_id, dt_stamp=one.dt_stamp)
            )
            failure = fail(stubs.live_data.CreateLiveDataEntry, request)
            assert failure.code == "FAILED_PRECONDITION", failure
            assert failure.reason == "ENTRY_NO_LONGER_KEPT"
            assert fail(
                stubs.live_data.GetLiveDataEntry,
                live_data_pb2.GetLiveDataEntryRequest(site_id=site_id, id=one.id),
            ).code == "NOT_FOUND"
        batch = live_data_pb2.BatchCreateLiveDataEntriesRequest(
            entries=[entry(site_id, dt_stamp=one.dt_stamp) for one in (kept[0], *old, kept[1])]
        )
        failure = fail(stubs.live_data.BatchCreateLiveDataEntries, batch)
        assert failure.code == "FAILED_PRECONDITION", failure
        assert failure.reason == "ENTRY_NO_LONGER_KEPT"
        batch.return_partial_success = True
        answer = stubs.live_data.BatchCreateLiveDataEntries(batch, timeout=30)
        assert len(answer.live_data_entries) == 2
        assert sorted(answer.failed_requests) == [1, 2, 3, 4]
        assert {status.code for status in answer.failed_requests.values()} == {
            grpc.StatusCode.FAILED_PRECONDITION.value[0]
        }
        assert create(stubs, site_id, NOW)
    # Neither a run without the flag nor one that keeps more brings anything back.
    maintain(database)
    maintain(database, "--live_data_retention=87600h")
    assert month(-13) < window(database)[1]
    assert rollups(database)[:3] == frozen[:3]


def test_an_entry_on_its_way_is_in_the_rollup_or_refused(database, stubs):
    """Writers of a month meet its end: each entry is counted for ever, or its writer is told."""
    site_id = create_site(stubs).id
    create(stubs, site_id, month(-20))
    stored = [1]
    refused = threading.Event()

    def write():
        while not refused.is_set():
            try:
                create(stubs, site_id, month(-20))
                stored[0] += 1
            except grpc.RpcError as error:
                assert error.code() == grpc.StatusCode.FAILED_PRECONDITION, error
                refused.set()

    with concurrent.futures.ThreadPoolExecutor(1) as threads:
        writer = threads.submit(write)
        wait_until(lambda: stored[0] > 20, 20, "some entries")
        maintain(database, A_YEAR)
        let_an_hour_pass(database)
        wait_until(lambda: "dropped" in maintain(database, A_YEAR), 30, "the month to be dropped")
        writer.result(timeout=30)
    assert database.query("SELECT sum(entries) FROM live_data_rollups") == [(stored[0],)]


def test_a_detachment_that_was_cut_off_is_finished(database, stubs):
    site_id = create_site(stubs).id
    for moment in (month(-15), month(-14)):
        create(stubs, site_id, moment)
    fill(database, site_id, month(-15), 100_000)
    with open_export(database) as finish:
        said = maintain_an_hour_later(database, A_YEAR)
        assert "old_months: postponed" in said
        assert pending(database) == [(table(month(-15)),)]
        # Gone for those who come later, and there for who reads it.
        assert len(entries_of(database)) == 1
        said = maintain(database, A_YEAR)
        assert "old_months: postponed" in said
        assert {table(month(-15)), table(month(-14))} <= month_tables(database)
        assert finish() == 100_002
    assert "old_months: dropped" in maintain(database, A_YEAR)
    assert pending(database) == []
    assert not {table(month(-15)), table(month(-14))} & month_tables(database)


def test_months_that_were_dropped_do_not_hide_one_that_was_not(database, stubs):
    site_id = create_site(stubs).id
    for moment in (month(-15), month(-14)):
        create(stubs, site_id, moment)
    first, second = table(month(-15)), table(month(-14))
    with database.connect() as reader, reader.transaction():
        reader.execute(f"LOCK TABLE {second} IN ACCESS SHARE MODE")
        said = maintain_an_hour_later(database, A_YEAR)
        assert f'old_months: postponed: dropped "{first}"; then: ' in said
    assert f'old_months: dropped "{second}"' in maintain(database, A_YEAR)


def test_a_month_that_was_detached_and_not_dropped_is_dropped(database, stubs):
    create(stubs, create_site(stubs).id, month(-15))
    with database.connect(database.owner_url) as connection:
        maintain(database)
        connection.execute("SELECT move_live_data_cutoff(%s)", [month(-1)])
        old = table(month(-15))
        connection.execute(f"ALTER TABLE live_data DETACH PARTITION {old} CONCURRENTLY")
    assert f'old_months: dropped "{old}"' in maintain(database, A_YEAR)
    assert old not in month_tables(database)
