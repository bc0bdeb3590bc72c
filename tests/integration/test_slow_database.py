"""Queries that wait: cancellation, deadlines, lock timeouts and a full queue."""

import time

import pytest
from energysites.v1 import sites_pb2

from support.calls import create_site, fail, locked, site
from support.metrics import value
from support.process import wait_until

LIST = sites_pb2.ListSitesRequest()
# What waits for a lock, of the app role and as the database sees it.
WAITING = (
    "SELECT pid FROM pg_stat_activity WHERE usename = 'energy_sites' AND wait_event_type = 'Lock'"
)


def update(site_id):
    return sites_pb2.UpdateSiteRequest(site=site(id=site_id, name="Late"))


def test_a_cancelled_call_stops_its_query(stubs, database):
    site_id = create_site(stubs).id
    with locked(database, site_id):
        call = stubs.sites.UpdateSite.future(update(site_id), timeout=60)
        wait_until(lambda: database.query(WAITING), 10, "the query waits for the lock")
        call.cancel()
        wait_until(lambda: not database.query(WAITING), 3, "the query is stopped")
    assert stubs.sites.GetSite(sites_pb2.GetSiteRequest(id=site_id)).name == site().name


def test_a_deadline_ends_call_and_query(stubs, database):
    site_id = create_site(stubs).id
    with locked(database, site_id):
        start = time.monotonic()
        failure = fail(stubs.sites.UpdateSite, update(site_id), timeout=0.3)
        assert failure.code == "DEADLINE_EXCEEDED" and time.monotonic() - start < 2
        wait_until(lambda: not database.query(WAITING), 3, "the query is stopped")
    assert stubs.sites.UpdateSite(update(site_id)).name == "Late"


def test_a_lock_held_for_too_long_is_a_conflict(start_service, database):
    stubs = start_service(database, flags=["--lock_timeout=200ms"]).stubs()
    site_id = create_site(stubs).id
    with locked(database, site_id):
        failure = fail(stubs.sites.UpdateSite, update(site_id))
    assert (failure.code, failure.reason) == ("ABORTED", "CONFLICT")
    assert failure.details["RetryInfo"].retry_delay.ToMilliseconds() > 0
    stubs.close()


@pytest.mark.one_server("the queue is each process's own")
def test_a_full_queue_says_when_to_come_back(start_server, database):
    flags = ["--database_connections=1", "--queue_limit=2", "--lock_timeout=60s"]
    server = start_server(database, flags=flags)
    stubs = server.stubs()
    site_id = create_site(stubs).id
    with locked(database, site_id):
        waiting = [stubs.sites.UpdateSite.future(update(site_id), timeout=60)]
        wait_until(lambda: database.query(WAITING), 10, "the only connection is taken")
        waiting += [stubs.sites.ListSites.future(LIST, timeout=60) for _ in range(2)]
        wait_until(lambda: queued(server) == 2, 10, "the queue is full")
        start = time.monotonic()
        failure = fail(stubs.sites.ListSites, LIST)
        assert (failure.code, failure.reason) == ("RESOURCE_EXHAUSTED", "QUEUE_FULL")
        assert failure.details["RetryInfo"].retry_delay.ToMilliseconds() > 0
        assert int(failure.trailers["grpc-retry-pushback-ms"]) > 0
        assert time.monotonic() - start < 2
        # A call that is given up leaves the queue before it costs a query.
        waiting.pop().cancel()
        wait_until(lambda: queued(server) == 1, 10, "the queue has room")
        late = stubs.sites.ListSites.future(LIST, timeout=60)
        wait_until(lambda: queued(server) == 2, 10, "the queue takes another")
    for call in (*waiting, late):
        assert call.result(timeout=20) is not None
    stubs.close()


def queued(server):
    return value(server, "energy_sites_executor_queued_calls", executor="unary")
