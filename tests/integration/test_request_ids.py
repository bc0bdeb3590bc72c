"""request_id: a repeated call gets the first answer, whoever repeats it and whenever."""

import grpc
import pytest
from energysites.v1 import configurations_pb2, live_data_pb2, sites_pb2

from support.calls import (
    at_once, configuration, contents, create_site, entry, fail, new_uuid, outcome, site,
    stamp,
)  # fmt: skip
from support.maintenance import drop_months_before, month
from support.process import wait_until

CALLERS = 8


def create_site_calls(stubs):
    return (
        stubs.sites.CreateSite,
        lambda **ids: sites_pb2.CreateSiteRequest(site=site(), **ids),
        lambda **ids: sites_pb2.CreateSiteRequest(site=site(name="Other"), **ids),
    )


def create_configuration_calls(stubs):
    one = create_site(stubs).id
    return (
        stubs.configurations.CreateConfiguration,
        lambda **ids: configurations_pb2.CreateConfigurationRequest(
            configuration=configuration(one), **ids
        ),
        lambda **ids: configurations_pb2.CreateConfigurationRequest(
            configuration=configuration(one, production_cro_kwp=0), **ids
        ),
    )


def create_entry_calls(stubs):
    one = create_site(stubs).id
    return (
        stubs.live_data.CreateLiveDataEntry,
        lambda **ids: live_data_pb2.CreateLiveDataEntryRequest(live_data_entry=entry(one), **ids),
        lambda **ids: live_data_pb2.CreateLiveDataEntryRequest(
            live_data_entry=entry(one, soc=55.50000000000001), **ids
        ),
    )


def batch_calls(stubs):
    sites = [create_site(stubs).id for _ in range(2)]
    entries = [entry(sites[0]), entry(sites[1]), entry(2**62)]
    return (
        stubs.live_data.BatchCreateLiveDataEntries,
        lambda **ids: live_data_pb2.BatchCreateLiveDataEntriesRequest(
            entries=entries, return_partial_success=True, **ids
        ),
        lambda **ids: live_data_pb2.BatchCreateLiveDataEntriesRequest(
            entries=entries[::-1], return_partial_success=True, **ids
        ),
    )


@pytest.fixture(
    params=[create_site_calls, create_configuration_calls, create_entry_calls, batch_calls]
)
def calls(request, stubs):
    """The method, a request for given ids, and another request."""
    return request.param(stubs)


def same(answers):
    return len({answer.SerializeToString(deterministic=True) for answer in answers}) == 1


def test_a_repeated_call_gets_the_first_answer(calls, database, service):
    method, one, other = calls
    request_id = new_uuid()
    first = method(one(request_id=request_id))
    before = contents(database)
    assert same(
        [first, method(one(request_id=request_id)), method(one(request_id=request_id.upper()))]
    )
    for request in (
        other(request_id=request_id), other(request_id=request_id, validate_only=True),
    ):  # fmt: skip
        failure = fail(method, request)
        assert (failure.code, failure.reason) == ("ALREADY_EXISTS", "REQUEST_ID_REUSED")
        assert request_id in failure.text
    service.restart()
    wait_until(service.is_up, 20, "they serve again")
    assert same([first, method(one(request_id=request_id), wait_for_ready=True, timeout=30)])
    assert contents(database) == before


def test_without_an_id_and_with_another_one_a_call_is_new(calls):
    method, one, _ = calls
    answers = [method(one()), method(one()), method(one(request_id=new_uuid()))]
    assert not any(same(pair) for pair in zip(answers, answers[1:]))


def test_a_refused_call_does_not_use_up_its_id(calls, database):
    method, one, _ = calls
    request_id = new_uuid()
    request = one(request_id=request_id)
    for field in ("site", "configuration", "live_data_entry", "entries"):
        if field in request.DESCRIPTOR.fields_by_name:
            request.ClearField(field)
    assert fail(method, request).code == "INVALID_ARGUMENT"
    assert not contents(database)["write_requests"]
    assert method(one(request_id=request_id))


def test_twins_at_once_are_one(calls, database):
    method, one, _ = calls
    for round_number in range(1, 6):
        request = one(request_id=new_uuid())
        answers = at_once(
            [lambda request=request: outcome(method, request) for _ in range(CALLERS)]
        )
        assert same(answers)
        # One row each round, or two of the batch whose third site is unknown.
        rows = contents(database)
        assert len(rows["write_requests"]) == round_number
        counts = {table: len(rows[table]) for table in ("sites", "configurations", "live_data")}
        assert round_number * (2 if "Batch" in request.DESCRIPTOR.name else 1) in counts.values()


def test_each_site_has_ids_of_its_own(stubs, database):
    first, second = create_site(stubs).id, create_site(stubs).id
    request_id = new_uuid()

    def create(site_id):
        return stubs.live_data.CreateLiveDataEntry(
            live_data_pb2.CreateLiveDataEntryRequest(
                live_data_entry=entry(site_id), request_id=request_id
            )
        )

    one, two = create(first), create(second)
    assert (one.site_id, two.site_id) == (first, second) and one.id != two.id
    assert (create(first), create(second)) == (one, two)
    # What one method answered is not another's answer.
    request = configurations_pb2.CreateConfigurationRequest(
        configuration=configuration(first), request_id=request_id
    )
    assert fail(stubs.configurations.CreateConfiguration, request).code == "ALREADY_EXISTS"
    # The memory goes with its site.
    stubs.sites.DeleteSite(sites_pb2.DeleteSiteRequest(id=first))
    assert database.query("SELECT site_id FROM write_requests") == [(second,)]


@pytest.mark.parametrize(
    "request_id", ["", "x", "not-a-uuid", "{5a8e7f04-0d5a-4a5e-b7a5-3d6a1d1f0a01}",
                   "5a8e7f04-0d5a-4a5e-b7a5-3d6a1d1f0a010"]
)  # fmt: skip
def test_an_id_must_be_a_uuid(stubs, request_id):
    request = sites_pb2.CreateSiteRequest(site=site(), request_id=request_id)
    failure = fail(stubs.sites.CreateSite, request)
    assert failure.code == "INVALID_ARGUMENT"
    assert [field for field, _ in failure.violations] == ["request_id"]


def test_output_fields_are_no_content(stubs):
    request_id = new_uuid()

    def create(**outputs):
        request = sites_pb2.CreateSiteRequest(site=site(**outputs), request_id=request_id)
        return stubs.sites.CreateSite(request)

    first = create()
    assert create(id=77, create_time=first.create_time) == first


def test_old_ones_are_forgotten_and_young_ones_are_not(start_service, database):
    ages = {new_uuid(): age for age in ("8 days", "169 hours", "167 hours", "1 minute")}
    for request_id, age in ages.items():
        database.query(
            "INSERT INTO write_requests (site_id, request_id, request_hash, response, create_time)"
            " VALUES (0, %s, '', '', now() - %s::interval) RETURNING 1",
            (request_id, age),
        )
    start_service(database)

    def remembered():
        return {str(row[0]) for row in database.query("SELECT request_id FROM write_requests")}

    young = {request_id for request_id, age in ages.items() if age in ("167 hours", "1 minute")}
    wait_until(lambda: remembered() == young, 20, "the old request_ids to be forgotten")


def old_entry(site_id):
    return entry(site_id, dt_stamp=stamp(int(month(-13).timestamp())))


def writes_of_old_entries(stubs, site_id, other_id):
    """Calls whose entries of `site_id` will be too old: method and request, by name."""
    single = stubs.live_data.CreateLiveDataEntry
    batch = stubs.live_data.BatchCreateLiveDataEntries
    entries = [old_entry(site_id), entry(other_id, dt_stamp=stamp(int(month(0).timestamp())))]
    return {
        "single": (single, live_data_pb2.CreateLiveDataEntryRequest(live_data_entry=entries[0])),
        "batch": (batch, live_data_pb2.BatchCreateLiveDataEntriesRequest(entries=entries)),
        "batch in parts": (
            batch,
            live_data_pb2.BatchCreateLiveDataEntriesRequest(
                entries=entries, return_partial_success=True
            ),
        ),
    }


def test_a_retry_gets_the_first_answer_after_its_month_was_dropped(
    start_service, stubs, database
):
    site_id, other_id = create_site(stubs).id, create_site(stubs).id
    calls = writes_of_old_entries(stubs, site_id, other_id)
    answers = {}
    for name, (method, request) in calls.items():
        request.request_id = new_uuid()
        answers[name] = method(request, timeout=30)
    drop_months_before(database, month(-12))
    # One server that knew the month, and one that never did.
    for clients in (stubs, start_service(database).stubs()):
        for name, (method, request) in writes_of_old_entries(clients, site_id, other_id).items():
            request.request_id = calls[name][1].request_id
            assert outcome(method, request) == answers[name], name
            request.request_id = new_uuid()
            failure = outcome(method, request)
            if name == "batch in parts":
                assert list(failure.failed_requests) == [0]
            else:
                assert (failure.code, failure.reason) == (
                    "FAILED_PRECONDITION", "ENTRY_NO_LONGER_KEPT"), name  # fmt: skip


def test_a_site_that_is_gone_comes_before_the_answer_and_the_month(stubs, database):
    site_id, other_id = create_site(stubs).id, create_site(stubs).id
    calls = writes_of_old_entries(stubs, site_id, other_id)
    for method, request in calls.values():
        request.request_id = new_uuid()
        method(request, timeout=30)
    drop_months_before(database, month(-12))
    stubs.sites.DeleteSite(sites_pb2.DeleteSiteRequest(id=site_id), timeout=30)
    for name, (method, request) in calls.items():
        if name != "batch in parts":
            assert fail(method, request).code == "NOT_FOUND", name
        for request_id in (new_uuid(), None):
            if request_id:
                request.request_id = request_id
            else:
                request.ClearField("request_id")
            answer = outcome(method, request)
            if name == "batch in parts":
                failed = {i: status.code for i, status in answer.failed_requests.items()}
                assert failed == {0: grpc.StatusCode.NOT_FOUND.value[0]}
            else:
                assert answer.code == "NOT_FOUND", name
