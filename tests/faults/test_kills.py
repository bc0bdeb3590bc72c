"""kill -9 of the server and of PostgreSQL, under writes of many callers."""

import random

from history import Outcome, check
from load import Load

from support.calls import create_site


def sites(stubs, count=3):
    return [create_site(stubs).id for _ in range(count)]


def test_the_server_is_killed(server, stubs, database, report, rounds):
    with Load(server.address, sites(stubs)) as load:
        for _ in range(rounds(5, 50)):
            load.wait_acknowledged(random.randrange(5, 40))
            server.kill()
            server.start()
        load.wait_acknowledged(20)
    counts = check(load.history, database)
    report.outcomes(counts)
    tried_again = sum(len(call.codes) > 1 for call in load.history)
    assert tried_again + counts[Outcome.UNKNOWN] >= rounds(5, 50), "the kills met no call"
