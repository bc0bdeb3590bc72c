"""IngestLiveData's sessions: whose they are, how they commit, and when they are forgotten."""

import itertools
import statistics
import threading
import time

import grpc
import pytest

from support.calls import create_site, failure_of
from support.ingest import Ingest, numbered, numbers_stored, refused
from support.process import wait_until

BATCH = 200


@pytest.fixture
def site(stubs):
    return create_site(stubs).id


def batch(site_id, sequence):
    return numbered(site_id, BATCH * (sequence - 1), BATCH)


class Flow:
    """Sends batch after batch of a stream for as long as the stream lasts."""

    def __init__(self, stream, site_id, first=1):
        self.stream = stream
        self.acknowledged = first - 1
        self.failure = None
        self._over = threading.Event()
        self._room = threading.Semaphore(8)  # What is sent and not acknowledged.
        self._site_id = site_id
        self._first = first
        self._threads = [threading.Thread(target=work) for work in (self._send, self._read)]
        for thread in self._threads:
            thread.start()

    def _send(self):
        for sequence in itertools.count(self._first):
            self._room.acquire()
            if self._over.is_set():
                return self.stream.end()
            self.stream.send(sequence, batch(self._site_id, sequence))

    def _read(self):
        try:
            for answer in self.stream.call:
                self._room.release(answer.committed_sequence - self.acknowledged or 1)
                self.acknowledged = answer.committed_sequence
        except grpc.RpcError as error:
            self.failure = failure_of(error)
        self.stop()

    def stop(self):
        self._over.set()
        self._room.release()

    def join(self):
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive()


def test_a_session_may_have_more_batches_than_an_integer_holds(stubs, database, site):
    """Regression: from batch 2,147,483,648 on the database refused the number."""
    last = 2**31 - 1
    assert Ingest(stubs).rest()[-1].committed_sequence == 0
    database.query(f"UPDATE ingest_sessions SET committed_sequence = {last} RETURNING 1")
    stream = Ingest(stubs, acknowledged=last)
    stream.send(last + 1, [*batch(site, 1), *numbered(10**15, 0, 1)])
    assert refused(stream.until(last + 1)).keys() == {last + 1}
    assert stream.rest() == []
    assert numbers_stored(database) == list(range(BATCH))


def test_acknowledgements_come_soon_while_rows_flow(stubs, database, site):
    flow = Flow(Ingest(stubs), site)
    delays = []
    with database.connect() as connection:
        for _ in range(20):
            [committed] = connection.execute(
                "SELECT coalesce(max(committed_sequence), 0) FROM ingest_sessions"
            ).fetchone()
            assert flow.acknowledged <= connection.execute(
                "SELECT coalesce(max(committed_sequence), 0) FROM ingest_sessions"
            ).fetchone()[0], "acknowledged is what is on disk"
            start = time.monotonic()
            # Of this batch and of the next: none waits for the end of the stream.
            wait_until(lambda at_least=committed: flow.acknowledged > at_least, 30, "news")
            delays.append(time.monotonic() - start)
    flow.stop()
    flow.join()
    assert flow.failure is None
    assert statistics.median(delays) < 1
    assert numbers_stored(database) == list(range(BATCH * flow.acknowledged))


def test_a_stream_in_full_flow_is_taken_over(stubs, database, site):
    """Again and again: whatever the old one had under way is either in the new one's start, or is
    not stored."""
    flows, acknowledged = [], 0
    for _ in range(8):
        stream = Ingest(stubs, acknowledged=acknowledged)
        committed = stream.answer().committed_sequence
        assert committed >= acknowledged
        flows.append(Flow(stream, site, committed + 1))
        wait_until(lambda: flows[-1].acknowledged >= committed + 3, 30, "it flows")  # noqa: B023
        acknowledged = flows[-1].acknowledged
    flows[-1].stop()
    for flow in flows:
        flow.join()
    assert [flow.failure.reason for flow in flows[:-1]] == ["INGEST_SESSION_TAKEN_OVER"] * 7
    assert flows[-1].failure is None
    assert numbers_stored(database) == list(range(BATCH * flows[-1].acknowledged))


def in_transaction(database):
    """The server's backends that are writing, those first that wait for a lock."""
    rows = database.query(
        """SELECT pid FROM pg_stat_activity
           WHERE datname = current_database() AND usename = 'energy_sites' AND backend_xid IS NOT NULL
           ORDER BY wait_event_type IS DISTINCT FROM 'Lock'"""
    )
    return [pid for (pid,) in rows]


@pytest.mark.parametrize("cut", [False, True])
def test_while_a_batch_commits_the_next_is_copied(stubs, database, site, cut):
    stream = Ingest(stubs)
    assert stream.answer().committed_sequence == 0
    with database.connect() as connection, connection.transaction():
        # The first batch waits for it when all its rows are copied.
        connection.execute("SELECT FROM ingest_sessions FOR UPDATE")
        for sequence in range(1, 6):
            stream.send(sequence, batch(site, sequence))
        wait_until(lambda: len(in_transaction(database)) == 2, 20, "two batches under way")
        assert numbers_stored(database) == []
        if cut:
            connection.execute("SELECT pg_terminate_backend(%s)", in_transaction(database)[:1])
            # What is copied already does not overtake what is lost.
            assert stream.failure().code == "UNAVAILABLE"
    if cut:
        stream = Ingest(stubs)
        assert stream.answer().committed_sequence == 0
        for sequence in range(1, 6):
            stream.send(sequence, batch(site, sequence))
    assert stream.rest()[-1].committed_sequence == 5
    assert numbers_stored(database) == list(range(5 * BATCH))


def test_a_session_is_forgotten_after_the_configured_time(start_service, database):
    flags = ("--ingest_session_ttl=1s", "--maintenance_interval=100ms")
    stubs = start_service(database, flags=flags).stubs()
    site_id = create_site(stubs).id
    idle, busy = Ingest(stubs, session="idle"), Ingest(stubs, session="busy")
    for stream in (idle, busy):
        stream.send(1, numbered(site_id, 1, 1))
        stream.until(1)
    sessions = "SELECT session FROM ingest_sessions"
    for sequence in itertools.count(2):
        # Its last batch is what counts.
        busy.send(sequence, numbered(site_id, sequence, 1))
        busy.until(sequence)
        if database.query(sessions) == [("busy",)]:
            break
        assert sequence < 10_000
    idle.send(2, numbered(site_id, 2, 1))
    assert idle.failure().code == "ABORTED"
    # Who was told more than nothing does not begin anew unawares.
    failure = Ingest(stubs, session="idle", acknowledged=1).failure()
    assert (failure.code, failure.reason) == ("NOT_FOUND", "INGEST_SESSION_NOT_FOUND")
    assert Ingest(stubs, session="idle").answer().committed_sequence == 0
    assert busy.rest() == []
    stubs.close()
