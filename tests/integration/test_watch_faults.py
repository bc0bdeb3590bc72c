"""WatchLiveData when something breaks: nothing is lost, nothing repeated, nobody else is slowed."""

import contextlib
import random
import signal
import threading
import time

import pytest
from energysites.v1 import live_data_pb2

from support.calls import create_site, entry, outcome
from support.metrics import total
from support.process import wait_until
from support.proxy import Proxy
from support.watch import Follower, Watch, in_order


def batch(site_ids, count):
    return live_data_pb2.BatchCreateLiveDataEntriesRequest(
        entries=[entry(site_ids[i % len(site_ids)]) for i in range(count)]
    )


@contextlib.contextmanager
def writers(services, site_ids):
    """Writes at all services, whatever becomes of a call, while the block runs."""
    over = threading.Event()

    def write(service):
        stubs = service.stubs()
        rng = random.Random(service.port)
        while not over.is_set():
            request = batch(site_ids, rng.randint(1, 50))
            outcome(stubs.live_data.BatchCreateLiveDataEntries, request, timeout=10)
        stubs.close()

    threads = [threading.Thread(target=write, args=(one,)) for one in services]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join(30)
            assert not thread.is_alive()


def assert_followed(followers, database):
    """All of them were told all that is stored, once and in order."""
    for follower, site_ids in followers:
        expected = in_order(database, site_ids)
        wait_until(
            lambda f=follower, e=expected: len(f.ids) >= len(e), 60, "the followers are told all"
        )
        follower.stop()
        assert [one.id for one in follower.entries] == expected


def test_cut_streams_lose_and_repeat_nothing(start_service, database):
    """Watchers leave, connections break, a server is killed and another one drained."""
    killed, drained = start_service(database), start_service(database)
    stubs = killed.stubs()
    site_ids = [create_site(stubs).id for _ in range(4)]
    proxy = Proxy(killed.port)
    followers = [
        (Follower(killed), None),
        (Follower(killed, site_ids[:2]), site_ids[:2]),
        (Follower(killed, address=proxy.address), None),
        (Follower(drained, site_ids[3:]), site_ids[3:]),
        (Follower(drained), None),
    ]
    rng = random.Random(5)
    cuts = [
        lambda: rng.choice(followers)[0].cut(),
        lambda: rng.choice(followers)[0].cut(),
        proxy.cut,
        lambda: (killed.kill(), killed.start()),
        drained.restart,
    ]
    with writers([killed, drained], site_ids):
        for number in range(20):
            seen = len(followers[0][0].ids)
            cuts[number % len(cuts)]()
            wait_until(lambda s=seen: len(followers[0][0].ids) > s, 30, "it goes on")
    assert_followed(followers, database)
    assert {code for one, _ in followers for code in one.failures} >= {"UNAVAILABLE", "CANCELLED"}
    proxy.close()
    stubs.close()


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_watchers_wait_for_the_database(cluster, start_service, mode):
    """Streams go on by themselves when it is back."""
    database = cluster.new_database()
    service = start_service(database)
    stubs = service.stubs()
    site_ids = [create_site(stubs).id]
    watches = [Watch(stubs), Watch(stubs, site_ids)]
    with writers([service], site_ids):
        for _ in range(2):
            seen = len(watches[0].wait(1))
            cluster.stop(mode)
            late = Watch(stubs, wait=False)
            cluster.start()
            watches[0].wait(seen + 1)
            wait_until(lambda one=late: one.tokens, 30, "a watch of meanwhile begins")
            late.cancel()
    expected = in_order(database)
    for watch in watches:
        assert watch.wait(len(expected)) == expected
    stubs.close()


def test_drain_ends_streams(start_service, database):
    # Without what the gateway takes to notice: the streams end at once.
    service = start_service(database, flags=["--drain_seconds=20", "--drain_delay=0s"])
    servers = service.instances("live_data")
    stubs = service.stubs()
    watches = [Watch(stubs) for _ in range(10)]
    start = time.monotonic()
    for server in servers:
        server.process.signal(signal.SIGTERM)
    for watch in watches:
        failure = watch.end()
        assert (failure.code, failure.reason) == ("UNAVAILABLE", "SHUTTING_DOWN")
    assert [one.process.wait(20) for one in servers] == [0] * len(servers)
    assert time.monotonic() - start < 10
    stubs.close()


def calls_dropped(servers):
    labels = {"grpc_code": "ResourceExhausted", "grpc_method": "WatchLiveData"}
    return total(servers, "grpc_server_handled_total", **labels)


def test_a_slow_reader_is_dropped_and_slows_nobody(start_service, database):
    service = start_service(database, flags=["--watch_stall_timeout=4s"])
    servers = service.instances("live_data")
    stubs, *others = [service.stubs() for _ in range(3)]
    site_ids = [create_site(stubs).id]
    slow, stuck = [
        one.live_data.WatchLiveData(live_data_pb2.WatchLiveDataRequest(), timeout=120)
        for one in others
    ]
    next(slow)
    reader = Watch(stubs)
    ids = []

    limit = time.monotonic() + 60
    while calls_dropped(servers) == 0:
        assert time.monotonic() < limit, "the slow reader is not dropped"
        stubs.live_data.BatchCreateLiveDataEntries(batch(site_ids, 10_000), timeout=30)
        # The other reader is told as fast as ever.
        ids = reader.wait(len(ids) + 10_000, 10)
    assert ids == in_order(database)

    # What was sent before is still there to be read, and the status behind it says where to go on.
    watch = Watch.of_call(slow)
    failure = watch.end()
    assert (failure.code, failure.reason) == ("RESOURCE_EXHAUSTED", "READER_TOO_SLOW"), failure
    assert failure.details["ErrorInfo"].metadata["resume_token"] == watch.token
    assert 0 < len(watch.ids) < len(ids) and watch.ids == ids[: len(watch.ids)]
    rest = Watch(stubs, token=watch.token)
    assert watch.ids + rest.wait(len(ids) - len(watch.ids)) == ids
    # Whoever does not even take the status is cut off, and holds no place.
    wait_until(lambda: total(servers, "energy_sites_watchers") == 2, 30, "the stuck reader is cut off")
    assert reader.failure is None and rest.failure is None
    stuck.cancel()
    for one in (stubs, *others):
        one.close()
