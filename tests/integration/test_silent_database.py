"""PostgreSQL's processes stand still, as on a hung disk or behind a stalled pooler."""

import concurrent.futures
import contextlib
import itertools
import pathlib
import signal

import pytest
from energysites.v1 import live_data_pb2, sites_pb2

from support.calls import create_site, entry, fail, locked, outcome, site
from support.metrics import value
from support.process import wait_until
from support.stubs import Stubs

pytestmark = pytest.mark.one_server("about the connections of one process")

LIST = sites_pb2.ListSitesRequest()
# The backends of group commits, by what they ran last.
WRITERS = """
    SELECT pid FROM pg_stat_activity
    WHERE usename = 'energy_sites' AND datname = current_database()
      AND query LIKE '%INSERT INTO live_data (%'
"""
WAITING = (
    "SELECT pid FROM pg_stat_activity WHERE usename = 'energy_sites' AND wait_event_type = 'Lock'"
)
MONITOR = """
    SELECT pid FROM pg_stat_activity
    WHERE usename = 'energy_sites' AND datname = current_database()
      AND query LIKE '%pg_stat_replication%'
"""


def pids(database, sql):
    return [pid for (pid,) in database.query(sql)]


def create(stubs, site_id, number, timeout=60):
    request = live_data_pb2.CreateLiveDataEntryRequest(
        live_data_entry=entry(site_id, load_kwh=number)
    )
    return outcome(stubs.live_data.CreateLiveDataEntry, request, timeout)


def abandoned(server):
    return value(server, "energy_sites_database_connections_abandoned_total")


def test_two_silent_backends_do_not_stop_creates(cluster, start_server):
    database = cluster.new_database()
    flags = ["--database_connections=2", "--statement_timeout=1s"]
    server = start_server(database, flags=flags)
    stubs = server.stubs()
    site_id = create_site(stubs).id
    numbers = itertools.count(1)
    acknowledged, unknown = [], []
    with concurrent.futures.ThreadPoolExecutor(8) as threads:

        def create_some():
            some = [next(numbers) for _ in range(8)]
            answers = list(threads.map(lambda number: create(stubs, site_id, number), some))
            for number, answer in zip(some, answers, strict=True):
                if hasattr(answer, "id"):
                    acknowledged.append(number)
                    continue
                # Nobody is asked to send it again, for it may be stored yet.
                assert (answer.code, answer.reason) == ("DEADLINE_EXCEEDED", "DATABASE_SILENT")
                assert "RetryInfo" not in answer.details
                unknown.append(number)
            return answers

        def both_write():
            create_some()
            return len(pids(database, WRITERS)) == 2

        wait_until(both_write, 30, "both connections have written")
        with cluster.standing_still(pids(database, WRITERS)):
            wait_until(
                lambda: all(hasattr(answer, "id") for answer in create_some()),
                60,
                "creates are stored again",
            )
            assert unknown and abandoned(server) == 2
            assert value(server, "energy_sites_database_available") == 1 and server.is_up()
    # What stood still may commit now; nothing else sends it again.
    stubs.close()
    server.process.signal(signal.SIGTERM)
    assert server.process.wait(20) == 0
    wait_until(lambda: not pids(database, WRITERS), 20, "the backends have ended")
    stored = [int(load) for (load,) in database.query("SELECT load_kwh FROM live_data")]
    assert len(stored) == len(set(stored))
    assert set(acknowledged) <= set(stored) <= set(acknowledged) | set(unknown)


@pytest.mark.parametrize("what", ["PostgreSQL", "a backend", "the postmaster"])
def test_sigterm_ends_the_server_whatever_the_database_does(cluster, start_server, what):
    """Regression: it waited for the database to take a cancellation, without a limit."""
    database = cluster.new_database()
    flags = ["--drain_seconds=1", "--drain_delay=0s", "--maintenance_interval=100ms"]
    flags += ["--database_connections=1"]
    server = start_server(database, flags=flags)
    stubs = server.stubs()
    site_id = create_site(stubs).id
    for number in range(2):  # The first one makes the month.
        create(stubs, site_id, number)
    with contextlib.ExitStack() as still:
        if what == "PostgreSQL":
            still.enter_context(cluster.paused())
        elif what == "a backend":
            [writer] = pids(database, WRITERS)
            still.enter_context(cluster.standing_still([writer]))
        else:
            # A call under way is cancelled at the end of the drain.
            still.enter_context(locked(database, site_id))
            still.enter_context(cluster.standing_still([cluster.postmaster()]))
        late = sites_pb2.UpdateSiteRequest(site=site(id=site_id, name="Late"))
        calls = [stubs.sites.UpdateSite.future(late, timeout=60) for _ in range(16)]
        wait_until(lambda: running(server) >= 1, 10, "a call is under way")
        server.process.signal(signal.SIGTERM)
        # drain_seconds and 5 s, and some time for a busy machine.
        assert server.process.wait(12) == 0
    for call in calls:
        call.cancel()
    stubs.close()


def running(server):
    return value(server, "energy_sites_executor_running_calls", executor="unary")


def test_a_cancellation_that_hangs_does_not_hold_the_connection(cluster, start_server):
    """Regression: the connection waited for it without a limit, and calls with it."""
    database = cluster.new_database()
    server = start_server(database, flags=["--database_connections=1"])
    stubs = server.stubs()
    site_id = create_site(stubs).id
    with database.connect() as connection:
        connection.execute("BEGIN")
        connection.execute(f"SELECT FROM sites WHERE id = {site_id} FOR UPDATE")
        late = sites_pb2.UpdateSiteRequest(site=site(id=site_id, name="Late"))
        call = stubs.sites.UpdateSite.future(late, timeout=60)
        wait_until(lambda: pids(database, WAITING), 10, "the call waits for the lock")
        descriptors = pathlib.Path(f"/proc/{server.process.pid}/fd")
        before = len(list(descriptors.iterdir()))
        with cluster.standing_still([cluster.postmaster()]):
            call.cancel()
            wait_until(
                lambda: len(list(descriptors.iterdir())) > before, 10, "the cancellation is sent"
            )
            connection.close()
            # The connection was given up, and there is no new one now.
            assert fail(stubs.sites.ListSites, LIST, timeout=30).code == "UNAVAILABLE"
    wait_until(lambda: hasattr(outcome(stubs.sites.ListSites, LIST, 10), "sites"), 20, "calls go on")
    stubs.close()


def test_a_dead_connection_of_the_monitor_is_no_outage(server, stubs, database):
    """Regression: calls were refused for as long as it took to connect again."""
    create_site(stubs)
    other = Stubs(server.address)
    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        over = []

        def read():
            failures, reads = [], 0
            while not over:
                answer = outcome(other.sites.ListSites, LIST, 10)
                reads += 1
                if not isinstance(answer, sites_pb2.ListSitesResponse):
                    failures.append(answer)
            return failures, reads

        readers = [threads.submit(read) for _ in range(4)]
        try:
            for _ in range(5):
                [pid] = wait_until(lambda: pids(database, MONITOR), 10, "the monitor asks")
                database.query(f"SELECT pg_terminate_backend({pid}, 10000)")
                wait_until(
                    lambda pid=pid: pids(database, MONITOR) not in ([], [pid]),
                    10,
                    "the monitor asks on a new connection",
                )
        finally:
            over.append(True)
        for reader in readers:
            failures, reads = reader.result(timeout=30)
            assert not failures and reads > 10
    events = server.log.read_text()
    assert "database is away" not in events
    other.close()
