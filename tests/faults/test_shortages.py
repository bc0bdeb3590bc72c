"""Too little of something: connections, time, disk, and room for all who call."""

import concurrent.futures
import contextlib
import os
import statistics
import threading
import time

import psycopg
import pytest
from energysites.v1 import sites_pb2
from history import Outcome, check
from load import Load
from moments import last, seconds_until

from support.calls import create_site, failure_of, locked, site
from support.process import wait_until
from support.stubs import Stubs

WAITING = """SELECT count(*) FROM pg_stat_activity
             WHERE datname = current_database() AND query LIKE '%UPDATE sites%'
               AND wait_event_type = 'Lock'"""
RUNNING = """SELECT count(*) FROM pg_stat_activity
             WHERE datname = current_database() AND usename = 'energy_sites' AND state <> 'idle'"""


def slow_down(database, event, seconds):
    """Makes `event`, INSERT or UPDATE, of a site take `seconds` in the database."""
    with database.connect() as connection:
        connection.execute(
            f"""CREATE FUNCTION public.dawdle() RETURNS trigger LANGUAGE plpgsql AS $$
                BEGIN PERFORM pg_sleep({seconds}); RETURN NEW; END $$"""
        )
        connection.execute(
            f"CREATE TRIGGER dawdle BEFORE {event} ON sites FOR EACH ROW EXECUTE FUNCTION dawdle()"
        )


def rolled_back(database):
    """Transactions, of all sessions. PostgreSQL counts them late."""
    ((count,),) = database.query(
        "SELECT xact_rollback FROM pg_stat_database WHERE datname = current_database()"
    )
    return count


class Timed:
    """A call under way, how it ended, and after how many seconds."""

    def __init__(self, method, request, timeout):
        start = time.monotonic()
        self._ended = threading.Event()
        self.call = method.future(request, timeout=timeout)

        def note(_):
            self.ended = time.monotonic()
            self.seconds = self.ended - start
            self._ended.set()

        self.call.add_done_callback(note)

    def code(self):
        assert self._ended.wait(60), "the call never ended"
        return self.call.code().name


def update(site_id, name):
    return sites_pb2.UpdateSiteRequest(site=site(id=site_id, name=name))


def test_a_locked_row_starves_the_pool(server, stubs, database, report):
    """Whoever cannot be served is told by its deadline, and nothing of it is done later."""
    sites = [create_site(stubs).id for _ in range(3)]
    with Load(server.address, sites, timeout=2) as load:
        load.wait_acknowledged(20)
        with locked(database, sites[0]):
            waiting = [Timed(stubs.sites.UpdateSite, update(sites[0], "Late"), 2) for _ in range(40)]
            codes = {one.code() for one in waiting}
            # Till then the row's release would let it happen, as for any call of unknown outcome.
            wait_until(lambda: database.query(WAITING) == [(0,)], 10, "no update waits")
            report.at_most("a call with a deadline of 2 s, longest",
                           max(one.seconds for one in waiting), 2.25, "s")  # fmt: skip
        back = seconds_until(lambda: load.wait_acknowledged(5) is None, "writes go on")
    report.at_most("writes acknowledged again", back, 2, "s")
    report.outcomes(check(load.history, database))
    assert codes <= {"DEADLINE_EXCEEDED", "ABORTED", "RESOURCE_EXHAUSTED"}
    assert database.query("SELECT count(*) FROM sites WHERE name = 'Late'") == [(0,)]


def test_a_slow_query_and_short_deadlines(stubs, database, report):
    """100 calls at once with 200 ms each: all told in time, and nothing goes on behind them."""
    sites = [create_site(stubs).id for _ in range(10)]
    slow_down(database, "UPDATE", 30)
    before = rolled_back(database)
    calls = [Timed(stubs.sites.UpdateSite, update(sites[i % 10], "Late"), 0.2) for i in range(100)]
    assert {one.code() for one in calls} == {"DEADLINE_EXCEEDED"}
    stopped = seconds_until(lambda: database.query(RUNNING) == [(0,)], "no query runs")
    wait_until(lambda: rolled_back(database) >= before + 4, 30, "queries were under way")
    report.at_most("answered, longest", 1000 * max(one.seconds for one in calls), 250, "ms")
    report.at_most("until none ran in the database", 1000 * stopped, 500, "ms")
    assert database.query("SELECT count(*) FROM sites WHERE name = 'Late'") == [(0,)]


def test_others_take_all_connections(start_cluster, start_server, report):
    cluster = start_cluster(max_connections=30)
    database = cluster.new_database()
    server = start_server(database)
    stubs = Stubs(server.address)
    sites = [create_site(stubs).id for _ in range(3)]
    with Load(server.address, sites, callers=12) as load, contextlib.ExitStack() as others:
        load.wait_acknowledged(20)
        taken = []

        def take_all():
            """The server's own are taken from it, and then by the others, unless it is faster."""
            with psycopg.connect(database.superuser_url, autocommit=True) as connection:
                connection.execute(
                    """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                       WHERE application_name = 'energy-sites'"""
                )
            with contextlib.suppress(psycopg.OperationalError):  # As is the aim.
                while True:
                    taken.append(others.enter_context(psycopg.connect(database.app_url)))
            return load.failed_tries > 20

        wait_until(take_all, 60, "calls find no connection")
        others.close()
        back = seconds_until(lambda: load.wait_acknowledged(20) is None, "writes go on")
    stubs.close()
    report.note("connections that others took", len(taken))
    report.at_most("20 writes acknowledged after they gave them back", back, 2, "s")
    report.outcomes(check(load.history, database))
    assert server.process.runs()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small disk")
def test_the_disk_is_full(start_cluster, start_server, report, rounds):
    """Of data and WAL alike; where PostgreSQL itself ends over it, it is started again."""
    cluster = start_cluster(disk_mib=300)
    database = cluster.new_database()
    server = start_server(database)
    stubs = Stubs(server.address)
    sites = [create_site(stubs).id for _ in range(3)]
    with Load(server.address, sites, batch=500) as load:
        for _ in range(rounds(2, 10)):
            load.wait_acknowledged(5)
            before = load.failed_tries
            with cluster.full_disk():
                wait_until(lambda before=before: load.failed_tries > before + 5, 60, "writes fail")
            cluster.ensure_started()
            back = seconds_until(lambda: load.wait_acknowledged(5) is None, "writes go on")
            report.note("writes acknowledged once there is room", back, "s")
    stubs.close()
    counts = check(load.history, database)
    report.outcomes(counts)
    assert counts[Outcome.ACKNOWLEDGED] and server.process.runs()


CONNECTIONS, QUERY_SECONDS = 4, 0.04
CAPACITY = CONNECTIONS / QUERY_SECONDS  # Calls in a second, at best.


def test_three_times_the_load_it_can_take(start_server, database, report, rounds):
    """It goes on at its best speed, refuses the rest at once, and recovers at once."""
    flags = [f"--database_connections={CONNECTIONS}", "--queue_limit=20"]
    server = start_server(database, flags=flags)
    stubs = Stubs(server.address)
    slow_down(database, "INSERT", QUERY_SECONDS)
    seconds = rounds(4, 20)
    peak = closed_loop(stubs, seconds / 2, callers=2 * CONNECTIONS)
    end = time.monotonic() + seconds
    calls = open_loop(stubs, 3 * CAPACITY, seconds)
    normal = seconds_until(
        lambda: Timed(stubs.sites.CreateSite, creation("After"), 10).code() == "OK", "a call is served"
    )
    codes = [one.code() for one in calls]
    assert set(codes) == {"OK", "RESOURCE_EXHAUSTED"}
    refused = [one for one, code in zip(calls, codes, strict=True) if code != "OK"]
    for one in refused[:20]:
        failure = failure_of(one.call.exception())
        assert int(failure.trailers["grpc-retry-pushback-ms"]) > 0
    stored = database.query("SELECT count(*) FROM sites WHERE name = 'Open'")
    assert stored == [(codes.count("OK"),)], "what was refused must not be stored, and the rest must"
    in_time = sum(one.ended < end and code == "OK" for one, code in zip(calls, codes, strict=True))
    milliseconds = sorted(1000 * one.seconds for one in refused)
    report.note("peak with as many callers as it takes", peak, "calls/s")
    report.at_least("goodput at 3 times the load, share of the peak",
                    in_time / seconds / peak, 0.9, "")  # fmt: skip
    report.at_most("refusal, median", statistics.median(milliseconds), 10, "ms")
    report.at_most("refusal, 99 %", milliseconds[int(0.99 * len(milliseconds))], 10, "ms")
    report.at_most("a call is served after the load", normal, 2, "s")
    stubs.close()


def creation(name):
    return sites_pb2.CreateSiteRequest(site=site(name=name))


def closed_loop(stubs, seconds, callers):
    """Calls in a second by callers that each wait for their answer."""
    end = time.monotonic() + seconds

    def run(_):
        done = 0
        while time.monotonic() < end:
            stubs.sites.CreateSite(creation("Closed"), timeout=10)
            done += 1
        return done

    with concurrent.futures.ThreadPoolExecutor(callers) as threads:
        return sum(threads.map(run, range(callers))) / seconds


def open_loop(stubs, rate, seconds):
    """`rate` calls in a second, whether or not they are answered."""
    start = time.monotonic()
    calls = []
    for number in range(int(rate * seconds)):
        last(start + number / rate - time.monotonic())
        calls.append(Timed(stubs.sites.CreateSite, creation("Open"), 10))
    return calls
