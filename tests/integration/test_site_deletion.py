"""A site goes with all that it has, however much, and no other site feels it."""

import threading
import time

from energysites.v1 import configurations_pb2, live_data_pb2, sites_pb2

from support.calls import JUNE, at_once, configuration, create_site, entry, new_uuid, outcome
from support.process import wait_until

ENTRIES = 50_000
# What a call may take beside a deletion; a blocked one would run into the lock timeout of 5 s.
PATIENCE = 4


def fill(database, site_id, count):
    """`count` entries in one statement; the service would take a while."""
    database.query(f"SELECT make_live_data_month(to_timestamp({JUNE}))")
    database.query(
        f"""
        INSERT INTO live_data
        SELECT (24186::bigint << 46) + n, {site_id}, to_timestamp({JUNE} + n), 50, 0, 0,
               true, true, true
        FROM generate_series(1, {count}) AS n
        RETURNING id
        """
    )


def count(database, site_id):
    return database.query(f"SELECT count(*) FROM live_data WHERE site_id = {site_id}")[0][0]


def test_other_sites_write_on(stubs, database):
    doomed, other = create_site(stubs).id, create_site(stubs).id
    fill(database, doomed, ENTRIES)
    stubs.configurations.CreateConfiguration(
        configurations_pb2.CreateConfigurationRequest(
            configuration=configuration(doomed), request_id=new_uuid()
        )
    )
    deleted = threading.Event()
    acknowledged, slowest, faults = [], [], []

    def write():
        worst = 0.0
        while not deleted.is_set():
            start = time.monotonic()
            one = outcome(
                stubs.live_data.CreateLiveDataEntry,
                live_data_pb2.CreateLiveDataEntryRequest(live_data_entry=entry(other)),
            )
            worst = max(worst, time.monotonic() - start)
            (acknowledged if hasattr(one, "id") else faults).append(one)
        slowest.append(worst)

    def write_to_the_doomed():
        """OK or NOT_FOUND, and nothing else."""
        request = live_data_pb2.CreateLiveDataEntryRequest(live_data_entry=entry(doomed))
        while not deleted.is_set():
            answer = outcome(stubs.live_data.CreateLiveDataEntry, request)
            if not hasattr(answer, "id") and answer.code != "NOT_FOUND":
                faults.append(answer)

    def delete():
        try:
            wait_until(lambda: len(acknowledged) > 20, 30, "writers are under way")
            stubs.sites.DeleteSite(sites_pb2.DeleteSiteRequest(id=doomed), timeout=60)
        finally:
            deleted.set()

    at_once([delete, write, write, write_to_the_doomed])
    assert not faults
    assert max(slowest) < PATIENCE
    assert count(database, doomed) == 0
    assert count(database, other) == len(acknowledged) > 20
    for table in ("configurations", "write_requests"):
        assert database.query(f"SELECT * FROM {table}") == []
    assert database.query("SELECT id FROM sites") == [(other,)]


def test_a_deletion_that_was_cut_goes_on(stubs, database):
    site_id = create_site(stubs).id
    fill(database, site_id, ENTRIES)
    call = stubs.sites.DeleteSite.future(sites_pb2.DeleteSiteRequest(id=site_id), timeout=60)
    wait_until(lambda: count(database, site_id) < ENTRIES, 30, "the deletion is under way")
    call.cancel()
    stubs.sites.DeleteSite(sites_pb2.DeleteSiteRequest(id=site_id), timeout=60)
    assert count(database, site_id) == 0
    assert database.query("SELECT id FROM sites") == []


def test_deletions_at_once_are_one(stubs, database):
    site_id = create_site(stubs).id
    fill(database, site_id, 20_000)
    request = sites_pb2.DeleteSiteRequest(id=site_id)
    answers = at_once(
        [lambda: outcome(stubs.sites.DeleteSite, request, timeout=60) for _ in range(4)]
    )
    codes = sorted(getattr(answer, "code", "OK") for answer in answers)
    assert set(codes) <= {"OK", "NOT_FOUND"} and "OK" in codes
    assert (count(database, site_id), database.query("SELECT id FROM sites")) == (0, [])
