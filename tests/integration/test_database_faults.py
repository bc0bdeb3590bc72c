"""The database away, restarted, slow and full: the server stays up and says so."""

import concurrent.futures
import contextlib
import threading
import time

import grpc
import psycopg
import pytest
import requests
from energysites.v1 import live_data_pb2, sites_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc

from support.calls import create_site, entry, fail, failure_of, new_uuid, outcome, site
from support.postgres import Postgres
from support.process import wait_until
from support.server import migrate
from support.stubs import Stubs

SERVING, NOT_SERVING = (
    health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING,
)  # fmt: skip
LIST = sites_pb2.ListSitesRequest()
# What waits for a lock, of the app role and as the database sees it.
WAITING = "SELECT pid FROM pg_stat_activity WHERE usename = 'energy_sites' AND wait_event_type = 'Lock'"


@pytest.fixture
def cluster():
    """A PostgreSQL of the test's own, which it may stop."""
    cluster = Postgres()
    try:
        cluster.make_template(migrate)
        yield cluster
    finally:
        with contextlib.suppress(RuntimeError):  # It may be started already.
            cluster.start()
        cluster.remove()


def assert_unavailable(failure):
    assert failure.code == "UNAVAILABLE" and failure.text
    assert failure.details["RetryInfo"].retry_delay.ToMilliseconds() > 0


def health_is(stubs, status):
    service = "energysites.v1.LiveData"
    check = health_pb2_grpc.HealthStub(stubs.channel).Check
    return lambda: check(health_pb2.HealthCheckRequest(service=service), timeout=5).status == status


def test_the_database_comes_later(cluster, start_server):
    database = cluster.new_database()
    cluster.stop()
    server = start_server(database, ready=False)
    stubs = Stubs(server.address)
    assert health_is(stubs, NOT_SERVING)()
    assert requests.get(f"{server.admin_url}/readyz", timeout=5).status_code == 503
    start = time.monotonic()
    assert_unavailable(fail(stubs.sites.ListSites, LIST, timeout=3))
    assert time.monotonic() - start < 3
    # Rules are judged without a database.
    assert fail(stubs.sites.CreateSite, sites_pb2.CreateSiteRequest()).code == "INVALID_ARGUMENT"
    cluster.start()
    wait_until(health_is(stubs, SERVING), 20, "health finds the database")
    wait_until(lambda: server.admin_answers("readyz"), 5, "readyz finds the database")
    assert create_site(stubs).id
    stubs.close()


def test_the_database_goes_and_comes_back(cluster, start_server):
    server = start_server(cluster.new_database())
    stubs = Stubs(server.address)
    create_site(stubs)
    cluster.stop("immediate")
    for _ in range(20):
        assert_unavailable(fail(stubs.sites.ListSites, LIST, timeout=3))
    wait_until(health_is(stubs, NOT_SERVING), 10, "health misses the database")
    cluster.start()
    wait_until(health_is(stubs, SERVING), 20, "health finds the database")
    # Every connection of the pool is good again.
    with concurrent.futures.ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(lambda _: stubs.sites.ListSites(LIST, timeout=10), range(64)))
    assert all(len(answer.sites) == 1 for answer in answers)
    stubs.close()


def test_a_database_without_our_schema_is_not_served(postgres, start_server):
    database = postgres.empty_database()
    server = start_server(database, ready=False)
    stubs = Stubs(server.address)
    assert health_is(stubs, NOT_SERVING)()
    assert_unavailable(fail(stubs.sites.ListSites, LIST))
    migrate(database)
    wait_until(health_is(stubs, SERVING), 20, "health finds the schema")
    assert create_site(stubs).id
    stubs.close()


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_restarts_under_load_lose_and_double_nothing(start_server, mode):
    cluster = Postgres(durable=True)
    try:
        cluster.make_template(migrate)
        database = cluster.new_database()
        server = start_server(database)
        stubs = Stubs(server.address)
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
                while not hasattr(answer := outcome(stubs.live_data.CreateLiveDataEntry, request, 10), "id"):
                    failed.append(answer)
                    assert answer.code in ("UNAVAILABLE", "ABORTED"), answer
                    assert time.monotonic() < limit, answer
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
                        lambda seen=seen: database.query("SELECT count(*) FROM live_data")[0][0] > seen + 50,
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
    finally:
        cluster.remove()


@contextlib.contextmanager
def locked(database, site_id):
    """Holds the site's row, so that whatever changes it waits."""
    with database.connect() as connection:
        connection.execute("BEGIN")
        connection.execute(f"SELECT FROM sites WHERE id = {site_id} FOR UPDATE")
        yield


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


def test_a_lock_held_for_too_long_is_a_conflict(start_server, database):
    server = start_server(database, flags=["--lock_timeout=200ms"])
    stubs = Stubs(server.address)
    site_id = create_site(stubs).id
    with locked(database, site_id):
        failure = fail(stubs.sites.UpdateSite, update(site_id))
    assert (failure.code, failure.reason) == ("ABORTED", "CONFLICT")
    assert failure.details["RetryInfo"].retry_delay.ToMilliseconds() > 0
    stubs.close()


def test_a_full_queue_says_when_to_come_back(start_server, database):
    flags = ["--database_connections=1", "--queue_limit=2", "--lock_timeout=60s"]
    server = start_server(database, flags=flags)
    stubs = Stubs(server.address)
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
    for line in requests.get(f"{server.admin_url}/metrics", timeout=5).text.splitlines():
        if line.startswith("energy_sites_executor_queued_calls "):
            return float(line.split()[1])
    raise AssertionError("no such metric")


def test_a_killed_backend_costs_one_call_at_most(stubs, database):
    create_site(stubs)
    for _ in range(10):
        database.query(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'energy_sites'"
        )
        codes = []
        while True:
            try:
                stubs.sites.ListSites(LIST, timeout=10)
                break
            except grpc.RpcError as error:
                failure = failure_of(error)
                assert_unavailable(failure)
                codes.append(failure.code)
        # The pool has 8 connections, and each may have been killed.
        assert len(codes) < 400, codes


def test_what_the_app_role_may_not_do(stubs, database):
    """The server runs with the app role alone; this is what someone who steals it cannot do."""
    site_id = create_site(stubs).id
    stubs.live_data.CreateLiveDataEntry(
        live_data_pb2.CreateLiveDataEntryRequest(live_data_entry=entry(site_id))
    )
    roles = database.query(
        "SELECT DISTINCT usename FROM pg_stat_activity WHERE datname = current_database()"
        " AND application_name NOT LIKE 'psql%' AND pid <> pg_backend_pid()"
    )
    assert roles == [("energy_sites",)]
    forbidden = [
        "CREATE TABLE mine (id int)",
        "CREATE SCHEMA mine",
        "DROP TABLE live_data",
        "DROP TABLE live_data_past",
        "ALTER TABLE sites ADD COLUMN mine int",
        "ALTER TABLE sites DISABLE TRIGGER ALL",
        "TRUNCATE live_data",
        "UPDATE live_data_window SET first_month = '-infinity'",
        "INSERT INTO schema_migrations SELECT * FROM schema_migrations",
        "UPDATE schema_migrations SET version = 99",
        "DELETE FROM schema_migrations",
        "CREATE OR REPLACE FUNCTION make_live_data_month(timestamptz) RETURNS void LANGUAGE sql AS ''",
        "SET ROLE energy_sites_owner",
        "COPY sites TO '/tmp/x'",
        "COPY sites FROM PROGRAM 'id'",
        "SELECT setval('live_data_numbers', 1)",
    ]
    with database.connect(database.app_url) as connection:
        for statement in forbidden:
            with contextlib.suppress(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement)
                raise AssertionError(f"allowed: {statement}")
        # The one function that makes tables makes no more than the window holds.
        for stamp in ("0001-01-01", "9999-12-31", "1850-05-05", "-infinity", "infinity"):
            connection.execute("SELECT make_live_data_month(%s)", [stamp])
    partitions = database.query(
        "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'live_data'::regclass"
    )
    assert {"live_data_past", "live_data_future", "live_data_2016_06"} == {
        name for (name,) in partitions
    }
