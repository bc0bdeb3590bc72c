"""IngestLiveData: batches whose sequence number was committed before."""

import pytest
from energysites.v1 import live_data_pb2
from google.rpc import status_pb2

from support.calls import JUNE, create_site, entry, stamp
from support.ingest import Ingest, numbered, numbers_stored

HASHES_KEPT = 64


@pytest.fixture
def site(stubs):
    return create_site(stubs).id


def commit(stubs, site_id, first, last):
    """Opens the session and commits the batches `first` to `last`, of one entry each."""
    stream = Ingest(stubs)
    for sequence in range(first, last + 1):
        stream.send(sequence, numbered(site_id, sequence, 1))
    assert stream.rest()[-1].committed_sequence == last


def resend(stubs, sequence, entries):
    """Sends one batch in a new stream of the session; returns how that fails."""
    stream = Ingest(stubs)
    stream.answer()
    stream.send(sequence, entries)
    stream.end()
    return stream.failure()


def assert_acknowledged(stubs, sequence, entries):
    stream = Ingest(stubs)
    committed = stream.answer().committed_sequence
    stream.send(sequence, entries)
    assert stream.answer().committed_sequence == committed >= sequence
    assert stream.rest() == []


def test_a_client_that_counts_anew_is_refused(stubs, database, site):
    """Regression: the numbers were acknowledged, and the new entries were lost."""
    commit(stubs, site, 1, 3)
    failure = resend(stubs, 1, numbered(site, 100, 1))
    assert (failure.code, failure.reason) == ("ALREADY_EXISTS", "INGEST_SEQUENCE_REUSED")
    assert "batch 1 " in failure.text and "committed_sequence" in failure.text
    assert numbers_stored(database) == [1, 2, 3]
    # The session goes on after what is committed, and repeats are acknowledged as before.
    assert_acknowledged(stubs, 1, numbered(site, 1, 1))
    commit(stubs, site, 4, 4)
    assert numbers_stored(database) == [1, 2, 3, 4]


@pytest.mark.parametrize("repeated", [1, 2])
def test_a_repeat_with_other_content_on_the_same_stream(stubs, database, site, repeated):
    """Whether the batch is committed by then or not."""
    stream = Ingest(stubs)
    stream.send(1, numbered(site, 1, 1))
    stream.until(1)
    stream.send(2, numbered(site, 2, 10))
    stream.send(repeated, numbered(site, 100, 1))
    stream.end()
    failure = stream.failure()
    assert (failure.code, failure.reason) == ("ALREADY_EXISTS", "INGEST_SEQUENCE_REUSED")
    # What was sent before is stored.
    assert numbers_stored(database) == list(range(1, 12))


def test_a_repeat_older_than_the_kept_hashes_is_refused(stubs, database, site):
    last = HASHES_KEPT + 6
    commit(stubs, site, 1, last)
    oldest = last - HASHES_KEPT + 1
    assert_acknowledged(stubs, oldest, numbered(site, oldest, 1))
    too_old = oldest - 1
    failure = resend(stubs, too_old, numbered(site, too_old, 1))
    assert (failure.code, failure.reason) == ("FAILED_PRECONDITION", "INGEST_SEQUENCE_TOO_OLD")
    assert "committed_sequence" in failure.text
    assert numbers_stored(database) == list(range(1, last + 1))


def test_output_fields_and_refused_entries_of_a_repeat(stubs, site):
    """A repeat is judged by what the client can set, refused entries included."""
    sent = [entry(site, dt_stamp=stamp(JUNE)), entry(site, soc=101)]
    stream = Ingest(stubs)
    stream.send(1, sent)
    assert stream.rest()[-1].committed_sequence == 1
    sent[0].id = 7
    sent[0].create_time.seconds = JUNE
    assert_acknowledged(stubs, 1, sent)
    sent[1].soc = 102
    assert resend(stubs, 1, sent).reason == "INGEST_SEQUENCE_REUSED"


def commit_by_an_older_version(database, sequence):
    """By the statement of a version that knows no hashes."""
    assert database.query(
        "UPDATE ingest_sessions SET committed_sequence = %s, update_time = now() RETURNING 1",
        (sequence,),
    )


def test_a_client_that_counts_anew_in_a_session_of_an_older_version(stubs, database, site):
    """Regression: all numbers up to committed_sequence were acknowledged, whatever their content,
    and the session never got a hash."""
    Ingest(stubs).rest()
    commit_by_an_older_version(database, HASHES_KEPT + 36)
    for sequence in (1, 36):
        failure = resend(stubs, sequence, numbered(site, sequence, 1))
        assert (failure.code, failure.reason) == ("FAILED_PRECONDITION", "INGEST_SEQUENCE_TOO_OLD")
        assert f"batch {sequence} " in failure.text and "committed_sequence" in failure.text
    # What was in flight during the upgrade is acknowledged, and the session goes on.
    assert_acknowledged(stubs, 37, numbered(site, 37, 1))
    assert_acknowledged(stubs, 100, numbered(site, 100, 1))
    commit(stubs, site, 101, 101)
    assert numbers_stored(database) == [101]
    assert resend(stubs, 37, numbered(site, 37, 1)).reason == "INGEST_SEQUENCE_TOO_OLD"
    assert_acknowledged(stubs, 38, numbered(site, 38, 1))
    assert resend(stubs, 101, numbered(site, 1, 1)).reason == "INGEST_SEQUENCE_REUSED"


def test_hashes_are_kept_beside_batches_of_an_older_version(stubs, database, site):
    """Regression: the first batch after those of an older version dropped all hashes, so that
    batches that had been refused were acknowledged."""
    commit(stubs, site, 1, 3)
    commit_by_an_older_version(database, 5)
    assert resend(stubs, 3, numbered(site, 100, 1)).reason == "INGEST_SEQUENCE_REUSED"
    for sequence in (4, 5):
        assert_acknowledged(stubs, sequence, numbered(site, sequence, 1))
    commit(stubs, site, 6, 6)
    for sequence in (1, 2, 3, 6):
        failure = resend(stubs, sequence, numbered(site, 100, 1))
        assert failure.reason == "INGEST_SEQUENCE_REUSED"
        assert_acknowledged(stubs, sequence, numbered(site, sequence, 1))
    for sequence in (4, 5):
        assert_acknowledged(stubs, sequence, numbered(site, sequence, 1))
    assert numbers_stored(database) == [1, 2, 3, 6]


def test_the_first_answer_has_the_whole_committed_sequence(stubs, database, site):
    """Regression: many refusals were divided among answers, so that a client that went on after
    the first one sent numbers that were committed."""
    commit(stubs, site, 1, 40)
    large = live_data_pb2.RefusedEntries(failed_entries={0: status_pb2.Status(message="x" * 524_200)})
    small = live_data_pb2.RefusedEntries(failed_entries={0: status_pb2.Status(message="x" * 50)})
    with database.connect() as connection:
        for sequence in range(1, 41):
            refused = (large if sequence < 3 else small).SerializeToString()
            connection.execute(
                "INSERT INTO ingest_refusals SELECT owner, session, %s, 1, %s FROM ingest_sessions",
                (sequence, refused),
            )
    hello = Ingest(stubs).answer()
    assert hello.committed_sequence == 40
    assert [batch.sequence for batch in hello.refused] == list(range(1, 41))
