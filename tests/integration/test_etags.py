"""Etags: whoever read an older version is refused, and of those at once exactly one wins."""

import pytest
from energysites.v1 import configurations_pb2, sites_pb2

from support.calls import at_once, configuration, contents, create_site, fail, outcome

GARBAGE = ("0", "-1", " 1", "01", "1 ", "x", "'; DROP TABLE sites; --", "9" * 40, "1\n", "é")
CALLERS = 8


class Sites:
    def __init__(self, stubs):
        self.service = stubs.sites
        self.created = create_site(stubs)

    def update(self, etag, value, **arguments):
        site = {"id": self.created.id, "name": f"Farm {value}", "etag": etag}
        return self.service.UpdateSite, sites_pb2.UpdateSiteRequest(site=site, **arguments)

    def delete(self, etag, **arguments):
        request = sites_pb2.DeleteSiteRequest(id=self.created.id, etag=etag, **arguments)
        return self.service.DeleteSite, request

    def get(self):
        return self.service.GetSite(sites_pb2.GetSiteRequest(id=self.created.id))


class Configurations:
    def __init__(self, stubs):
        self.service = stubs.configurations
        self.created = self.service.CreateConfiguration(
            configurations_pb2.CreateConfigurationRequest(
                configuration=configuration(create_site(stubs).id)
            )
        )
        self.names = {"site_id": self.created.site_id, "id": self.created.id}

    def update(self, etag, value, **arguments):
        return self.service.UpdateConfiguration, configurations_pb2.UpdateConfigurationRequest(
            configuration={**self.names, "etag": etag, "production_pv_units": value}, **arguments
        )

    def delete(self, etag, **arguments):
        return self.service.DeleteConfiguration, configurations_pb2.DeleteConfigurationRequest(
            **self.names, etag=etag, **arguments
        )

    def get(self):
        return self.service.GetConfiguration(
            configurations_pb2.GetConfigurationRequest(**self.names)
        )


@pytest.fixture(params=[Sites, Configurations])
def resource(request, stubs):
    return request.param(stubs)


def call(method, request):
    return method(request, timeout=30)


def test_the_stored_etag_is_taken_and_a_stale_one_is_not(resource, database):
    first = resource.created.etag
    second = call(*resource.update(first, 1)).etag
    assert second not in ("", first)
    before = contents(database)
    for stale in (first, *GARBAGE):
        for method, request in (
            resource.update(stale, 2), resource.update(stale, 2, validate_only=True),
            resource.delete(stale), resource.delete(stale, validate_only=True),
        ):  # fmt: skip
            failure = fail(method, request)
            assert (failure.code, failure.reason) == ("ABORTED", "STALE_ETAG"), request
    assert contents(database) == before
    third = call(*resource.update(second, 3)).etag
    assert third not in (first, second)
    call(*resource.delete(third))
    assert fail(*resource.delete(third)).code == "NOT_FOUND"


def test_without_an_etag_whatever_is_stored_is_changed(resource):
    for value in range(3):
        call(*resource.update("", value))
    call(*resource.delete(""))


def test_of_concurrent_updates_with_one_etag_exactly_one_wins(resource):
    for round_number in range(5):
        etag = resource.get().etag
        updates = [resource.update(etag, 100 * round_number + n) for n in range(CALLERS)]
        answers = at_once([lambda update=update: outcome(*update) for update in updates])
        winners = [answer for answer in answers if isinstance(answer, type(resource.created))]
        losers = [answer for answer in answers if answer not in winners]
        assert len(winners) == 1
        assert {(loser.code, loser.reason) for loser in losers} == {("ABORTED", "STALE_ETAG")}
        assert resource.get() == winners[0]


def test_concurrent_updates_without_etag_all_win(resource):
    answers = at_once(
        [lambda value=value: outcome(*resource.update("", value)) for value in range(CALLERS)]
    )
    assert len({answer.etag for answer in answers}) == CALLERS
    assert resource.get() in answers
