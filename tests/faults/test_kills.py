"""kill -9 of the server and of PostgreSQL, under writes of many callers."""

import os
import random
import signal

from history import Outcome, check
from load import Load
from moments import is_serving, seconds_until

from support.calls import create_site


def sites(stubs, count=3):
    return [create_site(stubs).id for _ in range(count)]


def assert_met(load, times):
    """The faults met calls: else nothing was tried."""
    failed = sum(bool(call.failures) for call in load.history)
    assert failed >= times, f"{failed} calls met {times} faults"


def test_the_server_is_killed(server, stubs, database, report, rounds):
    kills = rounds(5, 50)
    with Load(server.address, sites(stubs)) as load:
        for _ in range(kills):
            load.wait_acknowledged(random.randrange(5, 40))
            server.kill()
            server.start()
        load.wait_acknowledged(20)
    report.outcomes(check(load.history, database))
    assert_met(load, kills)


def test_postgres_is_killed(server, stubs, database, cluster, report, rounds):
    kills = rounds(3, 20)
    longest = 0
    with Load(server.address, sites(stubs)) as load:
        for _ in range(kills):
            load.wait_acknowledged(random.randrange(5, 40))
            cluster.kill()
            cluster.start()
            back = seconds_until(lambda: is_serving(stubs), "health says SERVING again")
            longest = max(longest, back)
        load.wait_acknowledged(20)
    report.outcomes(check(load.history, database))
    report.at_most("SERVING after PostgreSQL takes connections, longest", longest, 5, "s")
    assert_met(load, kills)


def test_a_backend_is_killed(server, stubs, database, report, rounds):
    """PostgreSQL ends all others with it, and recovers."""
    kills = rounds(3, 20)
    longest = 0
    with Load(server.address, sites(stubs)) as load:
        for _ in range(kills):
            load.wait_acknowledged(random.randrange(5, 40))
            [(victim,)] = database.query(
                """SELECT pid FROM pg_stat_activity
                   WHERE datname = current_database() AND usename = 'energy_sites'
                   ORDER BY random() LIMIT 1"""
            )
            os.kill(victim, signal.SIGKILL)
            back = seconds_until(lambda: load_goes_on(load), "writes are acknowledged again")
            longest = max(longest, back)
        load.wait_acknowledged(20)
    counts = check(load.history, database)
    report.outcomes(counts)
    report.at_most("writes acknowledged again, longest", longest, 5, "s")
    assert counts[Outcome.ACKNOWLEDGED]
    assert_met(load, kills)


def load_goes_on(load):
    load.wait_acknowledged(5)
    return True
