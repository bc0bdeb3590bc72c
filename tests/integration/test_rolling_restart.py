"""A new version comes in, one instance after the other, under load: no call fails, and streams go on.

ENERGY_SITES_LONG=1 makes it ten rounds with 300 calls a second and 50 streams; tests/parts/apart
runs that.
"""

import os
import time

from support.calls import create_site
from support.mixed_load import MixedLoad, taken
from support.process import wait_until
from support.resuming import Follower, Sender

LONG = bool(os.environ.get("ENERGY_SITES_LONG"))
ROUNDS, CALLS_A_SECOND, WATCHES, INGESTS = (10, 300, 40, 10) if LONG else (1, 60, 6, 2)
RATE_KEPT = 0.8  # Of what is wanted, on a busy machine.


def restart_each(apart, load):
    for _, server in apart.servers:
        target = load.good + 10
        assert server.stop() == 0
        server.start()
        wait_until(lambda target=target: load.good >= target, 60, "calls go on")


def test_rolling_restart(start_apart, database):
    apart = start_apart(database)
    stubs = apart.stubs()
    followers = [Follower(stubs) for _ in range(WATCHES)]
    senders = [Sender(stubs, create_site(stubs).id) for _ in range(INGESTS)]
    start = time.monotonic()
    load = MixedLoad(apart, CALLS_A_SECOND)
    try:
        for _ in range(ROUNDS):
            restart_each(apart, load)
        load.stop()
        seconds = time.monotonic() - start
        for sender in senders:
            sender.stop()
        stored = database.query("SELECT id, site_id, load_kwh::bigint FROM live_data ORDER BY xid, id")
        for follower in followers:
            wait_until(
                lambda follower=follower: len(follower.ids) >= len(stored), 60,
                f"a watch tells all {len(stored)} entries, not {len(follower.ids)}",
            )  # fmt: skip
    finally:
        for follower in followers:
            follower.stop()
        stubs.close()
    assert set(load.outcomes) == {"OK"}, load.outcomes
    sent_to = {sender.site_id for sender in senders}
    assert taken(load.entries) == sorted(id for id, site_id, _ in stored if site_id not in sent_to)
    configurations = database.query("SELECT id FROM configurations ORDER BY id")
    assert taken(load.configurations) == [id for (id,) in configurations]
    for follower in followers:
        assert follower.ids == [id for id, *_ in stored]
    for sender in senders:
        numbers = [number for _, site_id, number in stored if site_id == sender.site_id]
        assert sorted(numbers) == list(range(1, sender.sent + 1))
    for stream in (*followers, *senders):
        # UNAVAILABLE is what the contract promises where a server goes. In each round it was asked
        # to move once at least.
        assert set(stream.ends) == {"UNAVAILABLE"}, stream.ends
        assert stream.ends["UNAVAILABLE"] >= ROUNDS
    if LONG:
        rate = load.good / seconds
        assert rate >= RATE_KEPT * CALLS_A_SECOND, f"{rate:.0f} calls/s"
