"""SIGSTOP: a process that is there and does nothing, as on a machine that hangs."""

import signal

from history import Outcome, check
from load import Load
from moments import is_serving, last, seconds_until

from support.calls import create_site

DEADLINE_SECONDS = 2


def test_the_server_stands_still(server, stubs, database, report, rounds):
    sites = [create_site(stubs).id for _ in range(3)]
    with Load(server.address, sites, timeout=DEADLINE_SECONDS) as load:
        load.wait_acknowledged(20)
        server.process.signal(signal.SIGSTOP)
        last(rounds(3, 10))
        server.process.signal(signal.SIGCONT)
        back = seconds_until(lambda: is_serving(stubs), "health answers again")
        load.wait_acknowledged(20)
    report.outcomes(check(load.history, database))
    report.at_most("SERVING again", back, 5, "s")
    assert {"DEADLINE_EXCEEDED"} <= {code for call in load.history for code in call.codes}


def test_postgres_stands_still(server, stubs, database, cluster, report, rounds):
    sites = [create_site(stubs).id for _ in range(3)]
    with Load(server.address, sites, timeout=DEADLINE_SECONDS) as load:
        load.wait_acknowledged(20)
        with cluster.paused():
            noticed = seconds_until(lambda: not is_serving(stubs), "health tells")
            last(rounds(3, 10))
        back = seconds_until(lambda: is_serving(stubs), "health says SERVING again")
        load.wait_acknowledged(20)
    counts = check(load.history, database)
    report.outcomes(counts)
    report.at_most("health says NOT_SERVING", noticed, 10, "s")
    report.at_most("SERVING again", back, 5, "s")
    once = [call.ended - call.began for call in load.history if len(call.codes) == 1]
    report.at_most("a call with a deadline of 2 s, longest", max(once), DEADLINE_SECONDS + 0.25, "s")
    assert counts[Outcome.ACKNOWLEDGED]
