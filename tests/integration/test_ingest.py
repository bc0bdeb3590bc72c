"""IngestLiveData: batches in, acknowledgements out, entries refused one by one, sessions resumed."""

import math
import threading

import grpc
import pytest
from energysites.v1 import live_data_pb2, sites_pb2
from google.rpc import error_details_pb2

from support.calls import JUNE, create_site, entry, failure_of, stamp
from support.ingest import Ingest, numbered, numbers_stored, refused
from support.process import wait_until


@pytest.fixture
def site(stubs):
    return create_site(stubs).id


def test_batches_are_acknowledged_once_they_are_stored(stubs, database, site):
    stream = Ingest(stubs)
    hello = stream.answer()
    assert (hello.committed_sequence, hello.stored_entries, len(hello.refused)) == (0, 0, 0)
    for sequence in range(1, 4):
        stream.send(sequence, numbered(site, 100 * sequence, 100))
        last = stream.until(sequence)[-1]
        assert (last.committed_sequence, last.stored_entries) == (sequence, 100 * sequence)
        assert numbers_stored(database) == list(range(100, 100 * sequence + 100))
    assert stream.rest() == []


def test_everything_is_finished_when_the_client_has_sent_all(stubs, database, site):
    stream = Ingest(stubs)
    for sequence in range(1, 41):
        stream.send(sequence, numbered(site, 10 * sequence, 10))
    answers = stream.rest()
    assert (answers[-1].committed_sequence, answers[-1].stored_entries) == (40, 400)
    committed = [answer.committed_sequence for answer in answers]
    assert committed == sorted(set(committed)), "each answer says something new"
    assert numbers_stored(database) == list(range(10, 410))


def test_entries_are_what_was_sent(stubs, site):
    sent = [
        entry(site, id=7, dt_stamp=stamp(-62135596800), soc=0, load_kwh=5e-324, net_load_kwh=1e308),
        entry(site, dt_stamp=stamp(253402300799, 999999999), soc=100, load_kwh=0.1),
        entry(site, dt_stamp=stamp(-1, 999999), pv_notification=False, bio_notification=True),
        entry(site, dt_stamp=stamp(JUNE, 123456789), cro_notification=True),
        entry(site, dt_stamp=stamp(JUNE, 123456000), soc=1),
    ]  # fmt: skip
    stream = Ingest(stubs)
    stream.send(1, sent)
    assert stream.rest()[-1].stored_entries == len(sent)
    request = live_data_pb2.ListLiveDataEntriesRequest(site_id=site, order_by="dt_stamp")
    found = stubs.live_data.ListLiveDataEntries(request).live_data_entries
    assert len({one.id for one in found}) == len(sent) and all(one.create_time.seconds for one in found)
    for one in [*sent, *found]:
        one.ClearField("id")
        one.ClearField("create_time")
        one.dt_stamp.nanos -= one.dt_stamp.nanos % 1000
    # Entries of one moment come in the order sent.
    assert list(found) == [sent[0], sent[2], sent[3], sent[4], sent[1]]


def test_a_batch_with_one_entry_bad_in_each_way(stubs, database, site):
    deleted = create_site(stubs).id
    with database.connect() as connection:
        connection.execute(f"UPDATE sites SET delete_time = now() WHERE id = {deleted}")
        # As retention does it, and a rule of the database's own.
        connection.execute("SELECT move_live_data_cutoff('2010-01-01T00:00:00Z')")
        connection.execute("ALTER TABLE live_data ADD CONSTRAINT own_rule CHECK (soc <> 13)")
    lacking = {field: entry(site) for field in (
        "site_id", "dt_stamp", "soc", "load_kwh", "net_load_kwh", "pv_notification",
        "bio_notification", "cro_notification",
    )}  # fmt: skip
    for field, one in lacking.items():
        one.ClearField(field)
    wrong = {
        "site_id": [(0, "int64.gt"), (-3, "int64.gt")],
        "dt_stamp": [
            (stamp(-62135596801), "timestamp.gte_lte"),
            (stamp(253402300800), "timestamp.gte_lte"),
            (stamp(JUNE, -1), "timestamp.valid"),
            (stamp(JUNE, 1_000_000_000), "timestamp.valid"),
        ],
        "soc": [(-0.1, "double.gte_lte"), (100.1, "double.gte_lte"), (math.nan, "double.gte_lte")],
        "load_kwh": [
            (-1, "double.gte"), (math.inf, "double.finite"), (math.nan, "double.gte double.finite"),
            (-math.inf, "double.gte double.finite"),
        ],
        "net_load_kwh": [
            (-1, "double.gte"), (math.inf, "double.finite"), (math.nan, "double.gte double.finite"),
            (-math.inf, "double.gte double.finite"),
        ],
    }
    bad = [(one, "INVALID_ARGUMENT", field, "required") for field, one in lacking.items()]
    bad += [
        (entry(**{"site_id": site, field: value}), "INVALID_ARGUMENT", field, rule)
        for field, values in wrong.items()
        for value, rule in values
    ]
    bad += [
        (entry(999_999_999), "NOT_FOUND", None, None),
        (entry(deleted), "NOT_FOUND", None, None),
        (entry(deleted, dt_stamp=stamp(0)), "NOT_FOUND", None, None),  # The site comes first.
        (entry(site, dt_stamp=stamp(0)), "FAILED_PRECONDITION", None, "ENTRY_NO_LONGER_KEPT"),
        (entry(site, dt_stamp=stamp(-(10**10))), "FAILED_PRECONDITION", None,
         "ENTRY_NO_LONGER_KEPT"),
        (entry(site, soc=13), "FAILED_PRECONDITION", None, "ENTRY_REFUSED"),
    ]  # fmt: skip
    entries = []
    for number, (one, *_) in enumerate(bad):
        entries += [*numbered(site, number, 1), one]
    stream = Ingest(stubs)
    stream.send(1, entries)
    stream.send(2, numbered(site, 1000, 1))
    answers = stream.rest()
    assert numbers_stored(database) == [*range(len(bad)), 1000]
    assert answers[-1].stored_entries == len(bad) + 1
    [(sequence, batch)] = refused(answers).items()
    assert (sequence, batch.failed_count) == (1, len(bad))
    assert sorted(batch.failed_entries) == list(range(1, 2 * len(bad), 2))
    for number, (one, code, field, reason) in enumerate(bad):
        index = 2 * number + 1
        status = batch.failed_entries[index]
        assert (status.code, bool(status.message)) == (grpc.StatusCode[code].value[0], True), one
        details = {detail.TypeName().rpartition(".")[2]: detail for detail in status.details}
        if code == "INVALID_ARGUMENT":
            request = error_details_pb2.BadRequest()
            assert details["BadRequest"].Unpack(request)
            found = [(each.field, each.reason) for each in request.field_violations]
            assert found == [(f"entries[{index}].{field}", rule) for rule in reason.split()]
        elif code == "FAILED_PRECONDITION":
            info = error_details_pb2.ErrorInfo()
            assert details["ErrorInfo"].Unpack(info) and info.reason == reason
        else:
            assert "ResourceInfo" in details


def test_of_many_refused_entries_the_first_thousand_are_listed(stubs, database, site):
    stream = Ingest(stubs)
    stream.send(1, [entry(site, soc=101)] * 1200)
    batch = refused(stream.rest())[1]
    assert batch.failed_count == 1200 and sorted(batch.failed_entries) == list(range(1000))
    assert numbers_stored(database) == []


def test_a_batch_of_empty_entries(stubs, database):
    stream = Ingest(stubs)
    stream.send(1, [live_data_pb2.LiveDataEntry()] * 10_000)
    [batch] = [batch for answer in stream.until(1) for batch in answer.refused]
    assert batch.failed_count == 10_000 and sorted(batch.failed_entries) == list(range(1000))
    first, last = batch.failed_entries[0], batch.failed_entries[999]
    assert "entries[0].site_id" in first.message and first.details
    assert last.code == first.code and not last.details
    assert last.message.endswith("details omitted: send fewer entries")
    assert numbers_stored(database) == []


def test_refusals_are_said_again_until_they_are_acknowledged(stubs, site):
    first = Ingest(stubs)
    for sequence in range(1, 4):
        first.send(sequence, [*numbered(site, sequence, 1), entry(site, soc=100 + sequence)])
    told = refused(first.rest())
    assert sorted(told) == [1, 2, 3]

    for acknowledged in (0, 1, 3, 3):
        stream = Ingest(stubs, acknowledged=acknowledged)
        hello = stream.answer()
        assert hello.committed_sequence == 3
        assert refused([hello]) == {n: told[n] for n in told if n > acknowledged}
        assert stream.rest() == []
    # What was acknowledged is forgotten.
    assert not Ingest(stubs).answer().refused


def test_sequences_that_are_committed_are_acknowledged_and_not_stored_again(stubs, database, site):
    first = Ingest(stubs)
    first.send(1, numbered(site, 10, 10))
    first.send(1, numbered(site, 10, 10))
    first.send(2, numbered(site, 20, 10))
    assert first.rest()[-1].stored_entries == 20

    again = Ingest(stubs)
    assert again.answer().committed_sequence == 2
    again.send(1, numbered(site, 10, 10))
    assert again.answer().committed_sequence == 2
    again.send(2, numbered(site, 20, 10))
    assert again.answer().committed_sequence == 2
    again.send(3, numbered(site, 30, 10))
    last = again.rest()[-1]
    assert (last.committed_sequence, last.stored_entries) == (3, 10)
    assert numbers_stored(database) == list(range(10, 40))


def test_sessions_are_apart(stubs, database, site):
    one, other = Ingest(stubs, session="a"), Ingest(stubs, session="b")
    for sequence in (1, 2):
        one.send(sequence, numbered(site, sequence, 1))
        other.send(sequence, numbered(site, 10 * sequence, 1))
        one.until(sequence)
        other.until(sequence)
    assert [*one.rest(), *other.rest()] == []
    assert numbers_stored(database) == [1, 2, 10, 20]


def test_a_second_stream_takes_the_session_over(stubs, database, site):
    first = Ingest(stubs)
    first.send(1, numbered(site, 10, 10))
    first.until(1)
    second = Ingest(stubs)
    assert second.answer().committed_sequence == 1
    first.send(2, numbered(site, 20, 10))
    failure = first.failure()
    assert (failure.code, failure.reason) == ("ABORTED", "INGEST_SESSION_TAKEN_OVER")
    second.send(2, numbered(site, 30, 10))
    assert second.rest()[-1].committed_sequence == 2
    assert numbers_stored(database) == [*range(10, 20), *range(30, 40)]


def test_a_stream_without_a_start_is_told_so(stubs):
    stream = Ingest(stubs, start=False)
    stream.end()
    assert stream.failure().violations == [("start", "start.first")]


def test_a_session_that_was_forgotten_is_not_begun_again(stubs, database, site):
    stream = Ingest(stubs)
    stream.send(1, numbered(site, 1, 1))
    stream.rest()
    database.query("DELETE FROM ingest_sessions RETURNING 1")
    failure = Ingest(stubs, acknowledged=1).failure()
    assert (failure.code, failure.reason) == ("NOT_FOUND", "INGEST_SESSION_NOT_FOUND")
    assert database.query("SELECT * FROM ingest_sessions") == []


def test_a_session_that_came_less_far_than_its_client_was_told_does_not_go_on(stubs, site):
    stream = Ingest(stubs)
    stream.send(1, numbered(site, 1, 1))
    stream.rest()
    failure = Ingest(stubs, acknowledged=2).failure()
    assert (failure.code, failure.reason) == ("FAILED_PRECONDITION", "INGEST_SESSION_FORGOTTEN")
    assert Ingest(stubs, acknowledged=1).answer().committed_sequence == 1


def batch_of(sequence, entries):
    batch = live_data_pb2.IngestBatch(sequence=sequence, entries=entries)
    return live_data_pb2.IngestLiveDataRequest(batch=batch)


START = live_data_pb2.IngestLiveDataRequest(start=live_data_pb2.IngestStart(session="meter"))
NAMELESS = live_data_pb2.IngestLiveDataRequest(start=live_data_pb2.IngestStart(session="a b"))


@pytest.mark.parametrize(
    ("requests", "violation"),
    [
        ([batch_of(1, [entry(1)])], ("start", "start.first")),
        ([live_data_pb2.IngestLiveDataRequest()], ("start", "start.first")),
        ([NAMELESS], ("start.session", "string.pattern")),
        ([START, START], ("start", "start.once")),
        ([START, live_data_pb2.IngestLiveDataRequest()], ("batch", "required")),
        ([START, batch_of(2, [entry(1)])], ("batch.sequence", "sequence.next")),
        ([START, batch_of(0, [entry(1)])], ("batch.sequence", "int64.gt")),
        ([START, batch_of(1, [])], ("batch.entries", "repeated.min_items")),
        ([START, batch_of(1, [entry(1)] * 10_001)], ("batch.entries", "repeated.max_items")),
    ],
)
def test_messages_that_end_the_stream(stubs, database, requests, violation):
    stream = Ingest(stubs, start=False)
    for request in requests:
        stream.send_request(request)
    failure = stream.failure()
    assert (failure.code, failure.violations) == ("INVALID_ARGUMENT", [violation])
    assert failure.reason == "INVALID_REQUEST"
    assert numbers_stored(database) == []


def test_what_came_before_a_bad_message_is_stored_and_acknowledged(stubs, database, site):
    stream = Ingest(stubs)
    stream.send(1, numbered(site, 1, 10))
    stream.send(3, numbered(site, 11, 10))
    committed = 0
    with pytest.raises(grpc.RpcError) as raised:
        for answer in stream.call:
            committed = answer.committed_sequence
    stream.end()
    assert failure_of(raised.value).violations == [("batch.sequence", "sequence.next")]
    assert committed == 1
    assert numbers_stored(database) == list(range(1, 11))


def test_bytes_that_are_no_message(stubs):
    call = stubs.channel.stream_stream("/energysites.v1.LiveData/IngestLiveData")
    with pytest.raises(grpc.RpcError) as raised:
        list(call(iter([START.SerializeToString(), b"\xff\xff"]), timeout=30))
    failure = failure_of(raised.value)
    assert (failure.code, failure.reason) == ("INVALID_ARGUMENT", "MALFORMED_REQUEST")


def test_months_are_made_on_the_way(stubs, database, site):
    month = 30 * 86400
    stream = Ingest(stubs)
    for sequence in range(1, 4):
        stream.send(sequence, [
            entry(site, dt_stamp=stamp(JUNE + month * number), load_kwh=number)
            for number in range(20 * sequence, 20 * sequence + 20)
        ])  # fmt: skip
    assert stream.rest()[-1].stored_entries == 60
    assert numbers_stored(database) == list(range(20, 80))
    outside = "SELECT count(*) FROM live_data_past UNION ALL SELECT count(*) FROM live_data_future"
    assert database.query(outside) == [(0,), (0,)]


def test_a_month_that_was_dropped_meanwhile_is_made_again(stubs, database, site):
    stream = Ingest(stubs)
    stream.send(1, numbered(site, 1, 1))
    stream.until(1)
    with database.connect() as connection:
        connection.execute("DROP TABLE live_data_2016_06")
    stream.send(2, numbered(site, 2, 1))
    assert stream.rest()[-1].committed_sequence == 2
    assert numbers_stored(database) == [2]


def test_the_buckets_of_a_batch_are_marked(unmaintained_service, database):
    stubs = unmaintained_service.stubs()
    site = create_site(stubs).id
    other = create_site(stubs).id
    quarter = 15 * 60
    stream = Ingest(stubs)
    stamps = [JUNE, JUNE + 1, JUNE + quarter - 1, JUNE + quarter, -1, -quarter]
    stream.send(1, [entry(site, dt_stamp=stamp(seconds)) for seconds in stamps] + [entry(other)])
    stream.rest()
    marks = database.query("""SELECT site_id, extract(epoch FROM bucket)::bigint
                              FROM live_data_dirty_buckets ORDER BY 1, 2""")
    assert marks == [(site, -quarter), (site, JUNE), (site, JUNE + quarter), (other, JUNE)]
    stubs.close()


def test_a_site_is_deleted_meanwhile(stubs, database, site):
    doomed = create_site(stubs).id
    stream = Ingest(stubs)
    gone = threading.Event()

    def delete():
        stubs.sites.DeleteSite(sites_pb2.DeleteSiteRequest(id=doomed), timeout=60)
        gone.set()

    sequence, deletion = 0, threading.Thread(target=delete)
    answers, after = [], 0
    # Some batches before the deletion, those under it, and some after it.
    while after < 5:
        sequence += 1
        stream.send(sequence, numbered(site, 50 * sequence, 50) + numbered(doomed, 0, 50))
        answers += stream.until(sequence)
        if sequence == 5:
            deletion.start()
        after += gone.is_set()
    deletion.join()
    answers += stream.rest()
    found = refused(answers)
    for number in range(sequence - 3, sequence + 1):
        assert sorted(found[number].failed_entries) == list(range(50, 100))
        assert {one.code for one in found[number].failed_entries.values()} == {5}
    assert numbers_stored(database) == list(range(50, 50 * sequence + 50))


@pytest.mark.one_server("the limit is each process's own")
def test_no_more_streams_than_the_server_takes(stubs):
    streams = [Ingest(stubs, session=f"s{number}") for number in range(100)]
    for stream in streams:
        stream.answer()
    failure = Ingest(stubs, session="one-more").failure()
    assert failure.code == "RESOURCE_EXHAUSTED"
    assert failure.trailers["grpc-retry-pushback-ms"] == "1000"
    assert streams[0].rest() == []

    def accepted():
        stream = Ingest(stubs, session="one-more")
        try:
            return stream.answer() is not None
        except grpc.RpcError:
            return False
        finally:
            stream.end()

    wait_until(accepted, 10, "a stream that ended makes room")
    for stream in streams[1:]:
        stream.call.cancel()
