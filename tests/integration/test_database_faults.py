"""The database away, late, restarted or without our schema: the server stays up and says so."""

import concurrent.futures
import threading
import time

import pytest
from energysites.v1 import live_data_pb2, sites_pb2

from support.calls import create_site, entry, fail, new_uuid, outcome
from support.process import wait_until
from support.server import migrate

LIST = sites_pb2.ListSitesRequest()


def assert_unavailable(failure):
    assert failure.code == "UNAVAILABLE" and failure.text
    # What the gateway says by itself, once the services told it that they have no database.
    if failure.text == "no healthy upstream":
        return
    assert failure.details["RetryInfo"].retry_delay.ToMilliseconds() > 0


def test_the_database_comes_later(cluster, start_service):
    database = cluster.new_database()
    cluster.stop()
    service = start_service(database, ready=False)
    stubs = service.stubs()
    assert service.is_down()
    start = time.monotonic()
    assert_unavailable(fail(stubs.sites.ListSites, LIST, timeout=3))
    assert time.monotonic() - start < 3
    cluster.start()
    wait_until(service.is_up, 20, "health finds the database")
    assert create_site(stubs).id
    stubs.close()


@pytest.mark.one_server("the gateway sends nothing on to services without a database")
def test_rules_are_judged_without_a_database(cluster, start_server):
    database = cluster.new_database()
    cluster.stop()
    stubs = start_server(database, ready=False).stubs()
    assert fail(stubs.sites.CreateSite, sites_pb2.CreateSiteRequest()).code == "INVALID_ARGUMENT"
    stubs.close()


def test_the_database_goes_and_comes_back(cluster, start_service):
    service = start_service(cluster.new_database())
    stubs = service.stubs()
    create_site(stubs)
    cluster.stop("immediate")
    for _ in range(20):
        assert_unavailable(fail(stubs.sites.ListSites, LIST, timeout=3))
    wait_until(service.is_down, 10, "health misses the database")
    cluster.start()
    wait_until(service.is_up, 20, "health finds the database")
    # Every connection of the pool is good again.
    with concurrent.futures.ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(lambda _: stubs.sites.ListSites(LIST, timeout=10), range(64)))
    assert all(len(answer.sites) == 1 for answer in answers)
    stubs.close()


def test_a_database_without_our_schema_is_not_served(postgres, start_service):
    database = postgres.empty_database()
    service = start_service(database, ready=False)
    stubs = service.stubs()
    assert service.is_down()
    assert_unavailable(fail(stubs.sites.ListSites, LIST))
    migrate(database)
    wait_until(service.is_up, 20, "health finds the schema")
    assert create_site(stubs).id
    stubs.close()


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_restarts_under_load_lose_and_double_nothing(cluster, start_service, mode):
    """The cluster does without fsync and, unlike the server, commits asynchronously by default."""
    database = cluster.new_database()
    service = start_service(database)
    stubs = service.stubs()
    site_id = create_site(stubs).id
    over = threading.Event()
    failed = []

    def write(writer):
        acknowledged = {}
        while not over.is_set():
            number = 1_000_000 * writer + len(acknowledged)
            request = live_data_pb2.CreateLiveDataEntryRequest(
                live_data_entry=entry(site_id, load_kwh=number), request_id=new_uuid()
            )
            limit = time.monotonic() + 40
            while not hasattr(
                answer := outcome(stubs.live_data.CreateLiveDataEntry, request, 10), "id"
            ):
                failed.append(answer)
                assert answer.code in ("UNAVAILABLE", "ABORTED"), answer
                assert time.monotonic() < limit, answer
                time.sleep(0.02)  # RetryInfo asks for more; callers do wait.
            acknowledged[answer.id] = number
        return acknowledged

    with concurrent.futures.ThreadPoolExecutor(6) as threads:
        writers = [threads.submit(write, writer) for writer in range(6)]
        try:
            for _ in range(3):
                seen = database.query("SELECT count(*) FROM live_data")[0][0]
                cluster.stop(mode)
                cluster.start()
                wait_until(
                    lambda seen=seen: (
                        database.query("SELECT count(*) FROM live_data")[0][0] > seen + 50
                    ),
                    30,
                    "writers go on",
                )
        finally:
            over.set()
        acknowledged = {}
        for writer in writers:
            acknowledged.update(writer.result(timeout=60))
    assert failed, "no call met a restart"
    stored = dict(database.query("SELECT id, load_kwh::bigint FROM live_data"))
    assert stored == acknowledged
    assert len(set(stored.values())) == len(stored)
    stubs.close()


def test_killed_connections_are_replaced(stubs, database):
    create_site(stubs)

    def is_listed():
        answer = outcome(stubs.sites.ListSites, LIST, timeout=10)
        if isinstance(answer, sites_pb2.ListSitesResponse):
            return len(answer.sites) == 1
        assert_unavailable(answer)
        return False

    for _ in range(10):
        database.query(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'energy_sites'"
        )
        wait_until(is_listed, 10, "calls are answered again")
