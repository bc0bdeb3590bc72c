"""Concurrent Creates share one insert, and each call gets its own result.

A lock on the table holds as many batches as may be in the database at the same time, so that the
other calls wait for the next one. Rows of one batch have the same transaction id.
"""

import concurrent.futures
import contextlib

import grpc
import pytest
from energysites.v1 import configurations_pb2, live_data_pb2, sites_pb2
from support.calls import (
    JUNE, configuration, create_site, entry, failure_of, new_uuid, outcome, stamp,
)  # fmt: skip
from support.metrics import counted
from support.process import wait_until

JULY = JUNE + 30 * 86400
# Of creates, in the database at the same time: live_data_service.cc.
MAX_CONCURRENT_BATCHES = 2


def request(site_id, request_id=None, validate_only=False, **changes):
    return live_data_pb2.CreateLiveDataEntryRequest(
        live_data_entry=entry(site_id, **changes), request_id=request_id, validate_only=validate_only
    )


@contextlib.contextmanager
def no_inserts(database):
    """Inserts into live_data wait until the block ends."""
    with database.connect() as blocker:
        with blocker.transaction():
            blocker.execute("LOCK TABLE live_data IN SHARE MODE")
            yield


def waiting_statements(database):
    return database.query(
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = %s",
        [database.name],
    )[0][0]


class NextBatch:
    """Calls that wait behind those that are held, and run in one batch afterwards."""

    def __init__(self, stubs, database, site_id):
        self._create = stubs.live_data.CreateLiveDataEntry
        self._database = database
        self._site_id = site_id
        self._calls = []

    def add(self, message, timeout=30):
        self._calls.append((message, timeout))

    def outcomes(self, meanwhile=lambda: None):
        """What each added call got, in order."""
        # Makes the month: calls for a month that does not exist leave their batch.
        self._create(request(self._site_id), timeout=30)
        with no_inserts(self._database):
            held = []
            while len(held) < MAX_CONCURRENT_BATCHES:
                held.append(self._create.future(request(self._site_id), timeout=60))
                wait_until(
                    lambda: waiting_statements(self._database) == len(held), 30, "a batch is held"
                )
            futures = [self._create.future(message, timeout=timeout)
                       for message, timeout in self._calls]  # fmt: skip
            # Calls of one connection arrive in the order sent: when the last one is refused, all
            # before it are queued.
            marker = outcome(self._create, request(0))
            assert marker.code == "INVALID_ARGUMENT"
            meanwhile()
        for leader in held:
            leader.result(timeout=60)
        results = []
        for future in futures:
            try:
                results.append(future.result(timeout=60))
            except grpc.RpcError as error:
                results.append(failure_of(error))
        return results


@pytest.fixture
def site(stubs):
    return create_site(stubs).id


def xids(database, ids):
    rows = database.query("SELECT id, xid::text FROM live_data WHERE id = ANY(%s)", [list(ids)])
    assert len(rows) == len(ids)
    return {xid for _, xid in rows}


@pytest.mark.one_server("the calls of one process share batches")
def test_those_that_wait_share_one_transaction_and_keep_ids_apart(stubs, database, site):
    sites = [site] + [create_site(stubs).id for _ in range(4)]
    batch = NextBatch(stubs, database, site)
    for i in range(50):
        batch.add(request(sites[i % 5], soc=i))
    stored = batch.outcomes()
    assert [answer.soc for answer in stored] == list(range(50))
    assert [answer.site_id for answer in stored] == [sites[i % 5] for i in range(50)]
    assert len({answer.id for answer in stored}) == 50
    assert len(xids(database, [answer.id for answer in stored])) == 1
    for answer in stored[:5]:
        assert answer == stubs.live_data.GetLiveDataEntry(
            live_data_pb2.GetLiveDataEntryRequest(site_id=answer.site_id, id=answer.id), timeout=30
        )


def test_each_call_of_a_batch_gets_its_own_result(stubs, database, site):
    deleting = create_site(stubs).id
    database.query("UPDATE sites SET delete_time = now() WHERE id = %s RETURNING id", [deleting])
    # A fault that no rule of ours foresees.
    with database.connect() as connection:
        connection.execute("ALTER TABLE live_data ADD CONSTRAINT unlucky CHECK (soc <> 13)")
    before, used, twin = new_uuid(), new_uuid(), new_uuid()
    first = stubs.live_data.CreateLiveDataEntry(request(site, before, soc=1), timeout=30)
    stubs.live_data.CreateLiveDataEntry(request(site, used, soc=2), timeout=30)

    batch = NextBatch(stubs, database, site)
    messages = {
        "good": request(site, soc=20),
        "unknown site": request(10**15, soc=21),
        "site being deleted": request(deleting, soc=22),
        "repeated": request(site, before, soc=1),
        "request id of another": request(site, used, soc=23),
        "twin": request(site, twin, soc=24),
        "other twin": request(site, twin, soc=24),
        "new month": request(site, soc=25, dt_stamp=stamp(JULY)),
        "dry run": request(site, soc=26, validate_only=True),
        "fault": request(site, soc=13),
        "new request id": request(site, new_uuid(), soc=27),
        "good too": request(site, soc=28),
    }
    for message in messages.values():
        batch.add(message)
    got = dict(zip(messages, batch.outcomes(), strict=True))

    assert got["unknown site"].code == "NOT_FOUND"
    assert got["site being deleted"].code == "NOT_FOUND"
    assert got["repeated"] == first
    assert got["request id of another"].code == "ALREADY_EXISTS"
    assert got["twin"] == got["other twin"]
    assert got["dry run"].id == 0
    assert got["fault"].code == "INTERNAL"
    stored = {"good", "twin", "new month", "new request id", "good too"}
    for name in stored:
        assert got[name].soc == messages[name].live_data_entry.soc, name
    rows = database.query("SELECT soc FROM live_data WHERE soc >= 13 AND soc < 30 ORDER BY soc")
    assert [soc for (soc,) in rows] == sorted(messages[name].live_data_entry.soc for name in stored)


def test_a_locked_site_keeps_only_its_own_calls_waiting(stubs, database, site):
    locked = create_site(stubs).id
    stubs.live_data.CreateLiveDataEntry(request(site), timeout=30)
    with database.connect() as deleter:
        with deleter.transaction():
            deleter.execute("SELECT FROM sites WHERE id = %s FOR UPDATE", [locked])
            waiting = stubs.live_data.CreateLiveDataEntry.future(request(locked, soc=7), timeout=30)
            wait_until(lambda: waiting_statements(database) == 1, 30, "the call waits")
            for soc in range(20):
                answer = stubs.live_data.CreateLiveDataEntry(request(site, soc=soc), timeout=30)
                assert answer.soc == soc
            assert not waiting.done()
        assert waiting.result(timeout=30).soc == 7


@pytest.mark.one_server("the calls of one process share batches")
def test_a_cancelled_call_is_not_stored(server, stubs, database, site):
    def cancelled_in_the_server():
        method = {"grpc_method": "CreateLiveDataEntry"}
        return sum(counted([server], "grpc_server_handled_total", grpc_code=code, **method)
                   for code in ("Canceled", "DeadlineExceeded"))  # fmt: skip

    before = cancelled_in_the_server()
    batch = NextBatch(stubs, database, site)
    batch.add(request(site, soc=40), timeout=1)
    batch.add(request(site, soc=41))
    cancelled = []

    def wait_for_the_deadline():
        started = stubs.live_data.CreateLiveDataEntry.future(request(site, soc=42), timeout=2)
        cancelled.append(failure_of(started.exception(timeout=30)))
        # The client ends the call first.
        wait_until(lambda: cancelled_in_the_server() == before + 2, 30, "the server cancelled them")

    late, stored = batch.outcomes(wait_for_the_deadline)
    assert late.code == "DEADLINE_EXCEEDED"
    assert cancelled[0].code == "DEADLINE_EXCEEDED"
    assert stored.soc == 41
    rows = database.query("SELECT soc FROM live_data WHERE soc BETWEEN 40 AND 42")
    assert rows == [(41.0,)]


def test_reads_of_one_kind_share_batches_and_keep_their_results(stubs, site):
    """Each call gets its own answer, whatever calls share its batch."""
    configurations = [
        stubs.configurations.CreateConfiguration(
            configurations_pb2.CreateConfigurationRequest(
                configuration=configuration(site, battery_capacity_kwh=i)
            ),
            timeout=30,
        )
        for i in range(5)
    ]
    entries = [
        stubs.live_data.CreateLiveDataEntry(request(site, soc=i, dt_stamp=stamp(moment)), timeout=30)
        for i, moment in enumerate((JUNE, JULY, -62135596800, 253402300799, 0))
    ]

    def get_site(i):
        wanted = sites_pb2.GetSiteRequest(id=site if i % 2 else 10**15)
        return outcome(stubs.sites.GetSite, wanted), None if i % 2 == 0 else site

    def get_configuration(i):
        stored = configurations[i % 5]
        wanted = configurations_pb2.GetConfigurationRequest(
            site_id=site, id=stored.id if i % 2 else 10**15
        )
        return outcome(stubs.configurations.GetConfiguration, wanted), stored if i % 2 else None

    def get_entry(i):
        stored = entries[i % 5]
        wanted = live_data_pb2.GetLiveDataEntryRequest(
            site_id=site if i % 2 else 10**15, id=stored.id
        )
        return outcome(stubs.live_data.GetLiveDataEntry, wanted), stored if i % 2 else None

    with concurrent.futures.ThreadPoolExecutor(24) as threads:
        calls = [threads.submit(get, i) for i in range(60)
                 for get in (get_site, get_configuration, get_entry)]  # fmt: skip
        for call in calls:
            got, expected = call.result(timeout=60)
            if expected is None:
                assert got.code == "NOT_FOUND"
            elif isinstance(expected, int):
                assert got.id == expected
            else:
                assert got == expected


@pytest.mark.one_server("the queue is each process's own")
def test_calls_that_leave_their_batch_are_not_refused(start_server, database):
    """Regression: of a burst into a month that was not made yet, most were told QUEUE_FULL."""
    server = start_server(database, flags=["--queue_limit=1", "--database_connections=2"])
    stubs = server.stubs()
    site_id = create_site(stubs).id
    calls = [
        stubs.live_data.CreateLiveDataEntry.future(
            request(site_id, dt_stamp=stamp(JUNE + number), validate_only=number % 5 == 0),
            timeout=60,
        )
        for number in range(200)
    ]
    assert [call.exception(60) for call in calls] == [None] * 200
    stubs.close()
