"""BatchCreateLiveDataEntries: all or none, or the good ones, and who is to blame by index."""

import pytest
from energysites.v1 import live_data_pb2
from google.rpc import code_pb2, error_details_pb2

from support.calls import (
    JUNE, at_once, contents, create_site, entry, fail, new_uuid, outcome, stamp,
)  # fmt: skip
from support.maintenance import A_YEAR, maintain_an_hour_later

MOST = 10_000
UNKNOWN = 2**62


def batch(entries, **arguments):
    return live_data_pb2.BatchCreateLiveDataEntriesRequest(entries=entries, **arguments)


def good(sites, count):
    """`count` entries of all `sites`, each its own, over several months and stamps."""
    return [
        entry(
            sites[i % len(sites)],
            dt_stamp=stamp(JUNE + 3600 * (i // 3), i % 1000 * 1000),
            load_kwh=i,
        )
        for i in range(count)
    ]


def without_output(one):
    fields = live_data_pb2.LiveDataEntry()
    fields.CopyFrom(one)
    fields.ClearField("id")
    fields.ClearField("create_time")
    return fields


@pytest.fixture
def create(stubs):
    return stubs.live_data.BatchCreateLiveDataEntries


@pytest.fixture
def sites(stubs):
    return [create_site(stubs).id for _ in range(7)]


def test_ten_thousand_of_many_sites(create, sites, database):
    entries = good(sites, MOST)
    answer = create(batch(entries), timeout=60)
    assert [without_output(one) for one in answer.live_data_entries] == entries
    assert not answer.failed_requests
    stored = dict(database.query("SELECT id, load_kwh FROM live_data"))
    assert stored == {one.id: one.load_kwh for one in answer.live_data_entries}
    assert len(stored) == MOST


def test_one_too_many(create, sites, database):
    for arguments in ({}, {"return_partial_success": True}):
        failure = fail(create, batch(good(sites, MOST + 1), **arguments))
        assert failure.code == "INVALID_ARGUMENT"
        assert failure.violations == [("entries", "repeated.max_items")]
        failure = fail(create, batch([], **arguments))
        assert failure.violations == [("entries", "repeated.min_items")]
    assert not contents(database)["live_data"]


def test_one_bad_entry_stops_all(create, sites, database):
    for index in (0, 499, 999):
        entries = good(sites, 1000)
        entries[index].soc = 100.00000000000001
        failure = fail(create, batch(entries))
        assert failure.code == "INVALID_ARGUMENT"
        assert failure.violations == [(f"entries[{index}].soc", "double.gte_lte")]
        assert f"entries[{index}].soc" in failure.text
    assert not contents(database)["live_data"]


def test_all_violations_by_index(create, sites, database):
    entries = good(sites, 20)
    entries[3].ClearField("dt_stamp")
    entries[3].load_kwh = float("nan")
    entries[19].site_id = 0
    failure = fail(create, batch(entries, request_id="x"))
    assert failure.violations == sorted(
        [
            ("entries[3].dt_stamp", "required"),
            ("entries[3].load_kwh", "double.finite"),
            ("entries[3].load_kwh", "double.gte"),
            ("entries[19].site_id", "int64.gt"),
            ("request_id", "string.uuid"),
        ]
    )
    assert not any(contents(database)[table] for table in ("live_data", "write_requests"))


def test_more_violations_than_fit_are_counted(create, database):
    """Headers carry 8 KiB: the answer names the first violations and says how many there are."""
    failure = fail(create, batch([live_data_pb2.LiveDataEntry()] * MOST))
    assert failure.code == "INVALID_ARGUMENT"
    assert f"{8 * MOST} violations in all" in failure.text
    assert ("entries[0].soc", "required") in failure.violations
    assert len(failure.violations) >= 20
    assert not contents(database)["live_data"]


def test_an_unknown_site_stops_all(create, sites, database):
    entries = good(sites, 100)
    entries[40].site_id = UNKNOWN
    entries[99].site_id = UNKNOWN + 1
    failure = fail(create, batch(entries))
    assert failure.code == "NOT_FOUND"
    assert [field for field, _ in failure.violations] == [
        "entries[40].site_id",
        "entries[99].site_id",
    ]
    assert failure.details["ResourceInfo"].resource_name == str(UNKNOWN)
    assert "entries[40]" in failure.text
    assert not contents(database)["live_data"]


def test_partial_success(create, sites, database):
    entries = good(sites, 100)
    entries[0].soc = -1
    entries[0].net_load_kwh = -1
    entries[57].ClearField("cro_notification")
    entries[58].site_id = UNKNOWN
    entries[99].site_id = UNKNOWN
    for validate_only in (True, False):
        answer = create(batch(entries, return_partial_success=True, validate_only=validate_only))
        assert [without_output(one) for one in answer.live_data_entries] == [
            one for i, one in enumerate(entries) if i not in (0, 57, 58, 99)
        ]
        assert len(contents(database)["live_data"]) == (0 if validate_only else 96)
        failed = answer.failed_requests
        assert {index: code_pb2.Code.Name(failed[index].code) for index in failed} == {
            0: "INVALID_ARGUMENT", 57: "INVALID_ARGUMENT", 58: "NOT_FOUND", 99: "NOT_FOUND",
        }  # fmt: skip
        broken = details(failed[0], error_details_pb2.BadRequest).field_violations
        assert sorted((one.field, one.reason) for one in broken) == [
            ("entries[0].net_load_kwh", "double.gte"), ("entries[0].soc", "double.gte_lte"),
        ]  # fmt: skip
        missing = details(failed[99], error_details_pb2.ResourceInfo)
        assert missing.resource_name == str(UNKNOWN)


def test_partial_success_with_nothing_good(create, database):
    answer = create(batch([entry(UNKNOWN), entry(0)], return_partial_success=True))
    assert not answer.live_data_entries
    assert sorted(answer.failed_requests) == [0, 1]
    assert not contents(database)["live_data"]


MOST_MESSAGE_BYTES = 2 << 20
LEFT_OUT = "; details omitted: send fewer entries"


def failed_with_details(answer, count):
    """How many of the first `count` failed entries have details: the first ones, and no others."""
    failed = [answer.failed_requests[index] for index in sorted(answer.failed_requests)]
    assert len(failed) == count
    with_details = [bool(status.details) for status in failed]
    assert with_details == sorted(with_details, reverse=True)
    for status in failed:
        assert status.message.endswith(LEFT_OUT) == (not status.details)
    return sum(with_details)


def test_ten_thousand_bad_entries(create, database):
    """Regression: an answer of 8.7 MB, of which a client's channel takes 4 MiB."""
    empty = [live_data_pb2.LiveDataEntry()] * MOST
    answer = create(batch(empty, return_partial_success=True), timeout=60)
    assert answer.ByteSize() < MOST_MESSAGE_BYTES
    assert sorted(answer.failed_requests) == list(range(MOST))
    assert {status.code for status in answer.failed_requests.values()} == {code_pb2.INVALID_ARGUMENT}
    listed = failed_with_details(answer, MOST)
    assert 200 <= listed < 1000
    for index in range(listed):
        broken = details(answer.failed_requests[index], error_details_pb2.BadRequest)
        assert sorted(one.field.partition(".")[2] for one in broken.field_violations) == [
            "bio_notification", "cro_notification", "dt_stamp", "load_kwh", "net_load_kwh",
            "pv_notification", "site_id", "soc",
        ]  # fmt: skip
        assert all(one.field.startswith(f"entries[{index}].") for one in broken.field_violations)
    # What was left out is told in a smaller batch.
    again = create(batch(empty[listed:][:200], return_partial_success=True))
    assert failed_with_details(again, 200) == 200
    assert not contents(database)["live_data"]


@pytest.mark.parametrize("kind", ["unknown site", "no longer kept", "one rule"])
def test_ten_thousand_failures_of_one_kind(create, sites, database, kind):
    changes = {
        "unknown site": lambda i: {"site_id": UNKNOWN + i},
        "no longer kept": lambda i: {"dt_stamp": stamp(JUNE + i)},
        "one rule": lambda i: {"load_kwh": -1.1 - i},
    }[kind]
    if kind == "no longer kept":
        maintain_an_hour_later(database, A_YEAR)
    bad = [entry(**{"site_id": sites[0], **changes(i)}) for i in range(MOST)]
    answer = create(batch(bad, return_partial_success=True), timeout=60)
    assert answer.ByteSize() < MOST_MESSAGE_BYTES
    assert not answer.live_data_entries
    assert 1000 <= failed_with_details(answer, MOST) < MOST


def test_a_good_entry_among_bad_ones_is_told_of(create, sites, database):
    """Regression: the entry was stored, and the client could not read that, however often it asked."""
    entries = [live_data_pb2.LiveDataEntry()] * (MOST - 1) + good(sites, 1)
    request = batch(entries, return_partial_success=True, request_id=new_uuid())
    answer = create(request, timeout=60)
    assert [without_output(one) for one in answer.live_data_entries] == good(sites, 1)
    assert sorted(answer.failed_requests) == list(range(MOST - 1))
    assert create(request, timeout=60) == answer
    assert len(contents(database)["live_data"]) == 1
    [(bytes_remembered,)] = database.query("SELECT octet_length(response) FROM write_requests")
    assert bytes_remembered < MOST_MESSAGE_BYTES


def test_half_of_the_entries_bad(create, sites):
    """The largest answers: stored entries take about as much as failed ones without details."""
    entries = good(sites, MOST)
    for i in range(0, MOST, 2):
        entries[i] = live_data_pb2.LiveDataEntry()
    answer = create(batch(entries, return_partial_success=True), timeout=60)
    assert len(answer.live_data_entries) == MOST // 2
    assert answer.ByteSize() < MOST_MESSAGE_BYTES
    failed_with_details(answer, MOST // 2)


@pytest.mark.memory
@pytest.mark.parametrize("partial", [True, False])
def test_bad_batches_take_little_memory(service, stubs, partial):
    """Regression: 48 of these at once, of 20 KB each, took 1.28 GB."""
    request = batch([live_data_pb2.LiveDataEntry()] * MOST, return_partial_success=partial)
    create = stubs.live_data.BatchCreateLiveDataEntries

    before = sum(service.peaks_mib("live_data"))
    at_once([lambda: outcome(create, request, timeout=60)] * 16)
    assert sum(service.peaks_mib("live_data")) - before < 100


def test_partial_success_does_not_excuse_the_batch_itself(create, sites, database):
    request = batch([entry(sites[0], soc=101)], return_partial_success=True, request_id="x")
    failure = fail(create, request)
    assert failure.violations == [
        ("entries[0].soc", "double.gte_lte"),
        ("request_id", "string.uuid"),
    ]
    assert not contents(database)["write_requests"]


def details(status, kind):
    detail = kind()
    assert any(packed.Unpack(detail) for packed in status.details)
    return detail
