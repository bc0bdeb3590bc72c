"""IngestLiveData under faults: whatever breaks, every entry is stored once."""

import itertools
import os
import signal
import threading
import time

import grpc
import pytest
from energysites.v1 import live_data_pb2

from support.calls import JUNE, create_site, entry, failure_of
from support.ingest import Ingest, numbered, numbers_stored
from support.process import wait_until
from support.proxy import Proxy
from support.server import migrated_cluster

# More of both in nightly runs: a million rows and a cut every two seconds.
ROWS = int(os.environ.get("ENERGY_SITES_INGEST_ROWS", "200000"))
CUT_SECONDS = float(os.environ.get("ENERGY_SITES_INGEST_CUT_SECONDS", "0"))
BATCH = 2_000
LEAST_CUTS = 10
# What a stream ends with when its way to the database breaks.
BROKEN = {"UNAVAILABLE", "CANCELLED", "RESOURCE_EXHAUSTED", "ABORTED"}


class Sender:
    """A client as the contract wants it: on a broken stream it asks where it was, and goes on."""

    def __init__(self, service, batches, address=None):
        """`address` is that of a proxy before the service."""
        self.committed = 0
        self.streams = 0
        self.failures = []
        self._service, self._address = service, address
        self._batches = batches  # Serialized requests, in order.

    def run(self, seconds=300):
        limit = time.monotonic() + seconds
        while self.committed < len(self._batches):
            assert time.monotonic() < limit, f"at {self.committed}: {self.failures[-5:]}"
            stubs = self._service.stubs(self._address)
            try:
                self._stream(stubs, limit - time.monotonic())
            except grpc.RpcError as error:
                failure = failure_of(error)
                assert failure.code in BROKEN or self._service.resets(failure), failure
                self.failures.append(failure)
            stubs.close()

    def _stream(self, stubs, timeout):
        opened = threading.Event()
        over = threading.Event()

        def requests():
            start = live_data_pb2.IngestStart(session="home", acknowledged_sequence=self.committed)
            yield live_data_pb2.IngestLiveDataRequest(start=start).SerializeToString()
            opened.wait()
            if not over.is_set():
                yield from self._batches[self.committed:]

        call = stubs.channel.stream_stream(
            "/energysites.v1.LiveData/IngestLiveData",
            response_deserializer=live_data_pb2.IngestLiveDataResponse.FromString,
        )(requests(), timeout=timeout, wait_for_ready=True)
        self.streams += 1
        try:
            for answer in call:
                assert answer.committed_sequence >= self.committed and not answer.refused
                self.committed = answer.committed_sequence
                opened.set()
        finally:
            over.set()
            opened.set()


def batches_of(site_ids, rows):
    """Serialized requests of `rows` entries in all, each with a number of its own."""
    one = entry(1)
    batches = []
    for sequence, first in enumerate(range(0, rows, BATCH), start=1):
        batch = live_data_pb2.IngestBatch(sequence=sequence)
        for number in range(first, min(first + BATCH, rows)):
            one.site_id = site_ids[number % len(site_ids)]
            one.dt_stamp.seconds = JUNE + number
            one.load_kwh = number
            batch.entries.append(one)
        batches.append(live_data_pb2.IngestLiveDataRequest(batch=batch).SerializeToString())
    return batches


def assert_each_once(database, rows):
    [found] = database.query(
        """SELECT count(*), count(DISTINCT load_kwh), min(load_kwh), max(load_kwh),
                  count(*) FILTER (WHERE dt_stamp <> to_timestamp(%s + load_kwh))
           FROM live_data""",
        [JUNE],
    )
    assert found == (rows, rows, 0, rows - 1, 0)


def test_the_connection_is_cut_again_and_again(service, stubs, database):
    batches = batches_of([create_site(stubs).id for _ in range(10)], ROWS)
    proxy = Proxy(service.port)
    sender = Sender(service, batches, proxy.address)
    running = threading.Thread(target=sender.run)
    cuts = 0

    def reached(committed, forwarded):
        return sender.committed >= committed and proxy.forwarded >= forwarded

    try:
        running.start()
        while running.is_alive():
            if CUT_SECONDS:
                running.join(CUT_SECONDS)
            else:
                # Anywhere in a message, on the way to the next acknowledgement.
                goal = sender.committed + len(batches) // (LEAST_CUTS + 5)
                behind = proxy.forwarded + 7_777 * (cuts + 1)
                while running.is_alive() and not reached(goal, behind):
                    running.join(0.001)
            cuts += running.is_alive() and proxy.cut()
    finally:
        proxy.close()
        running.join(60)
    assert sender.committed == len(batches)
    assert cuts >= LEAST_CUTS and sender.streams > LEAST_CUTS
    assert_each_once(database, ROWS)
    print(f"{ROWS:,} rows, {cuts} cuts, {sender.streams} streams")


def test_the_server_is_killed_under_a_stream(service, stubs, database):
    rows = 60_000
    batches = batches_of([create_site(stubs).id], rows)
    sender = Sender(service, batches)
    running = threading.Thread(target=sender.run)
    running.start()
    for share in (0.2, 0.5, 0.8):
        wait_until(lambda share=share: sender.committed >= share * len(batches), 60, "it goes on")
        for server in service.instances("live_data"):
            server.kill()
            server.start()
    running.join(60)
    assert not running.is_alive() and sender.streams >= 4
    assert_each_once(database, rows)


@pytest.fixture
def cluster():
    """A PostgreSQL of the test's own, which it may stop."""
    with migrated_cluster(durable=True) as cluster:
        yield cluster


def test_the_database_crashes_under_a_stream(cluster, start_service):
    rows = 60_000
    database = cluster.new_database()
    service = start_service(database)
    stubs = service.stubs()
    batches = batches_of([create_site(stubs).id], rows)
    stubs.close()
    sender = Sender(service, batches)
    running = threading.Thread(target=sender.run)
    running.start()
    for share, mode in ((0.2, "immediate"), (0.6, "fast")):
        wait_until(lambda share=share: sender.committed >= share * len(batches), 60, "it goes on")
        cluster.stop(mode)
        cluster.start()
    running.join(120)
    assert not running.is_alive() and sender.failures
    assert {failure.code for failure in sender.failures} <= {"UNAVAILABLE"}
    assert_each_once(database, rows)


def test_a_server_that_shuts_down_finishes_what_is_under_way(start_service, database):
    # Without what the gateway takes to notice: the streams end at once.
    service = start_service(database, flags=("--drain_delay=0s",))
    stubs = service.stubs()
    site = create_site(stubs).id
    idle, busy = Ingest(stubs, session="idle"), Ingest(stubs, session="busy")
    idle.answer()
    over = threading.Event()

    def send():
        for sequence in itertools.count(1):
            if over.is_set() or sequence > 5000:
                return busy.end()
            busy.send(sequence, numbered(site, 10 * sequence, 10))
        return None

    sending = threading.Thread(target=send)
    sending.start()
    acknowledged = busy.until(20)[-1].committed_sequence
    start = time.monotonic()
    servers = service.instances("live_data")
    for server in servers:
        server.process.signal(signal.SIGTERM)
    ends = []
    for stream in (idle, busy):
        with pytest.raises(grpc.RpcError) as raised:
            for answer in stream.call:
                acknowledged = answer.committed_sequence
        ends.append(failure_of(raised.value))
    over.set()
    sending.join(60)
    assert [end.code for end in ends] == ["UNAVAILABLE"] * 2
    assert [end.reason for end in ends] == ["SHUTTING_DOWN"] * 2
    assert [one.process.wait(20) for one in servers] == [0] * len(servers)
    assert time.monotonic() - start < 8, "it waited for --drain_seconds"
    assert numbers_stored(database) == list(range(10, 10 * acknowledged + 10))
    stubs.close()


@pytest.mark.memory
def test_a_client_that_never_reads_is_held_back(service, stubs, database):
    site = create_site(stubs).id
    bad = live_data_pb2.IngestBatch(entries=[entry(site, soc=101 + n % 7) for n in range(10_000)])
    taken = itertools.count()
    last = [0]
    over = threading.Event()

    def requests():
        yield live_data_pb2.IngestLiveDataRequest(start=live_data_pb2.IngestStart(session="deaf"))
        for sequence in range(1, 1001):
            if over.is_set():
                return
            last[0] = next(taken)
            bad.sequence = sequence
            yield live_data_pb2.IngestLiveDataRequest(batch=bad)

    # A message of answers is not delivered before the one before was read.
    call = stubs.live_data.IngestLiveData(requests(), timeout=120)

    def stands_still():
        before = last[0]
        over.wait(1.0)
        return before > 0 and last[0] == before

    wait_until(stands_still, 60, "the server takes no more")
    assert last[0] < 200
    assert max(service.peaks_mib("live_data")) < 200
    over.set()
    call.cancel()

    # Others never noticed.
    stream = Ingest(stubs, session="other")
    stream.send(1, numbered(site, 1, 10))
    assert stream.rest()[-1].stored_entries == 10
    assert numbers_stored(database) == list(range(1, 11))


@pytest.mark.memory
def test_a_database_that_stands_still_holds_clients_back(start_service, database):
    service = start_service(database, flags=("--lock_timeout=60s", "--statement_timeout=60s"))
    stubs = service.stubs()
    site = create_site(stubs).id
    clients, batches = 20, 100
    body = numbered(site, 0, 10_000)
    taken = [0] * clients

    def requests(client):
        start = live_data_pb2.IngestStart(session=f"s{client}")
        yield live_data_pb2.IngestLiveDataRequest(start=start)
        batch = live_data_pb2.IngestBatch(entries=body)
        for sequence in range(1, batches + 1):
            batch.sequence = taken[client] = sequence
            yield live_data_pb2.IngestLiveDataRequest(batch=batch)

    def stands_still():
        before = sum(taken)
        time.sleep(0.5)
        return min(taken) > 0 and sum(taken) == before

    with database.connect() as connection:
        connection.execute("SELECT make_live_data_month(to_timestamp(%s))", [JUNE])
        with connection.transaction():
            connection.execute("LOCK TABLE live_data IN SHARE MODE")
            calls = [
                stubs.live_data.IngestLiveData(requests(client), timeout=120)
                for client in range(clients)
            ]
            wait_until(stands_still, 60, "the server takes no more")
            assert max(taken) < batches / 2
            assert max(service.peaks_mib("live_data")) < 200
            assert numbers_stored(database) == []
        # They go on, but for those that gRPC cut off where --memory_limit_mib was reached.
        gone_on = 0
        for call in calls:
            try:
                gone_on += any(answer.committed_sequence > 0 for answer in call)
            except grpc.RpcError as error:
                failure = failure_of(error)
                assert failure.code == "RESOURCE_EXHAUSTED" or service.resets(failure), failure
            call.cancel()
        assert gone_on > 0
    assert create_site(stubs).id > site
    stubs.close()


def test_a_client_that_leaves_leaves_nothing_behind(stubs, database):
    site = create_site(stubs).id
    for number in range(30):
        stream = Ingest(stubs, session=f"s{number}")
        stream.send(1, numbered(site, 10 * number, 10))
        if number % 2:
            stream.until(1)
        stream.call.cancel()
        stream.end()
    busy = """SELECT count(*) FROM pg_stat_activity
              WHERE datname = current_database() AND usename = 'energy_sites'
                AND state LIKE 'idle in transaction%'"""
    wait_until(lambda: database.query(busy) == [(0,)], 10, "no transaction is left open")
    for number in range(30):
        stream = Ingest(stubs, session=f"s{number}")
        if stream.answer().committed_sequence == 0:
            stream.send(1, numbered(site, 10 * number, 10))
        stream.rest()
    assert numbers_stored(database) == list(range(300))
