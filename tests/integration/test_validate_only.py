"""validate_only, on every write: judged as the real call is, and nothing is stored."""

import pytest
from energysites.v1 import configurations_pb2, live_data_pb2, sites_pb2

from support.calls import (
    configuration, contents, create_site, entry, fail, new_uuid, site, stamp,
)  # fmt: skip

UNKNOWN = 9_223_372_036_854_775_807


class World:
    """One of each resource."""

    def __init__(self, stubs):
        self.stubs = stubs
        self.site = create_site(stubs)
        self.configuration = stubs.configurations.CreateConfiguration(
            configurations_pb2.CreateConfigurationRequest(configuration=configuration(self.site.id))
        )
        self.entry = stubs.live_data.CreateLiveDataEntry(
            live_data_pb2.CreateLiveDataEntryRequest(live_data_entry=entry(self.site.id))
        )

    def of_configuration(self, **changes):
        return {"site_id": self.site.id, "id": self.configuration.id, **changes}


@pytest.fixture
def world(stubs):
    return World(stubs)


def good_calls(world):
    """Method, request, and what it must answer."""
    stubs, site_id = world.stubs, world.site.id
    fine = stamp(1464739200, 123_456_789)
    cut = stamp(1464739200, 123_456_000)
    sent = configurations_pb2.Configuration(**world.of_configuration(battery_vendor="KATL"))
    empty = type(
        stubs.sites.DeleteSite(sites_pb2.DeleteSiteRequest(id=site_id, validate_only=True))
    )
    return [
        (stubs.sites.CreateSite, sites_pb2.CreateSiteRequest(site=site(id=4, etag="x")), site()),
        (
            stubs.sites.UpdateSite,
            sites_pb2.UpdateSiteRequest(
                site={"id": site_id, "name": "New", "etag": world.site.etag}
            ),
            site(name="New"),
        ),
        (stubs.sites.DeleteSite, sites_pb2.DeleteSiteRequest(id=site_id), empty()),
        (
            stubs.configurations.CreateConfiguration,
            configurations_pb2.CreateConfigurationRequest(
                configuration=configuration(site_id, id=7)
            ),
            configuration(site_id),
        ),
        (
            stubs.configurations.UpdateConfiguration,
            configurations_pb2.UpdateConfigurationRequest(
                configuration=sent, update_mask={"paths": ["battery_vendor", "production_pv_kwp"]}
            ),
            configuration(site_id, battery_vendor="KATL", production_pv_kwp=None),
        ),
        (
            stubs.configurations.DeleteConfiguration,
            configurations_pb2.DeleteConfigurationRequest(**world.of_configuration()),
            empty(),
        ),
        (
            stubs.live_data.CreateLiveDataEntry,
            live_data_pb2.CreateLiveDataEntryRequest(live_data_entry=entry(site_id, dt_stamp=fine)),
            entry(site_id, dt_stamp=cut),
        ),
        (
            stubs.live_data.BatchCreateLiveDataEntries,
            live_data_pb2.BatchCreateLiveDataEntriesRequest(
                entries=[entry(site_id, id=3), entry(site_id, soc=1)]
            ),
            live_data_pb2.BatchCreateLiveDataEntriesResponse(
                live_data_entries=[entry(site_id), entry(site_id, soc=1)]
            ),
        ),
        (
            stubs.live_data.DeleteLiveDataEntry,
            live_data_pb2.DeleteLiveDataEntryRequest(site_id=site_id, id=world.entry.id),
            empty(),
        ),
    ]


def test_good_calls_store_nothing(world, database):
    before = contents(database)
    calls = good_calls(world)
    for method, request, expected in calls:
        request.validate_only = True
        assert method(request) == expected, request
        if "request_id" in request.DESCRIPTOR.fields_by_name:
            # Nor is the id remembered: the real call may use it.
            request.request_id = new_uuid()
            assert method(request) == expected, request
    assert contents(database) == before
    # The table above is whole: no write of the contract lacks validate_only or is not tried.
    tried = {request.DESCRIPTOR.name for _, request, _ in calls}
    modules = (sites_pb2, configurations_pb2, live_data_pb2)
    assert tried == {
        name
        for module in modules
        for name, message in module.DESCRIPTOR.message_types_by_name.items()
        if "validate_only" in message.fields_by_name
    }
    assert len(tried) == 9


def test_bad_calls_are_refused_as_the_real_ones(world, database):
    site_id = world.site.id
    before = contents(database)
    names = {"site_id": site_id, "id": UNKNOWN}
    stubs = world.stubs
    table = [
        (
            stubs.sites.CreateSite,
            sites_pb2.CreateSiteRequest(site=site(name="")),
            "INVALID_ARGUMENT",
        ),
        (stubs.sites.UpdateSite, sites_pb2.UpdateSiteRequest(site=site(id=UNKNOWN)), "NOT_FOUND"),
        (
            stubs.sites.UpdateSite,
            sites_pb2.UpdateSiteRequest(site=site(id=site_id, etag="?")),
            "ABORTED",
        ),
        (stubs.sites.DeleteSite, sites_pb2.DeleteSiteRequest(id=UNKNOWN), "NOT_FOUND"),
        (
            stubs.configurations.CreateConfiguration,
            configurations_pb2.CreateConfigurationRequest(configuration=configuration(UNKNOWN)),
            "NOT_FOUND",
        ),
        (
            stubs.configurations.UpdateConfiguration,
            configurations_pb2.UpdateConfigurationRequest(
                configuration={**names, "battery_vendor": "KATL"}
            ),
            "NOT_FOUND",
        ),
        (
            stubs.configurations.DeleteConfiguration,
            configurations_pb2.DeleteConfigurationRequest(**names),
            "NOT_FOUND",
        ),
        (
            stubs.live_data.CreateLiveDataEntry,
            live_data_pb2.CreateLiveDataEntryRequest(live_data_entry=entry(UNKNOWN)),
            "NOT_FOUND",
        ),
        (
            stubs.live_data.BatchCreateLiveDataEntries,
            live_data_pb2.BatchCreateLiveDataEntriesRequest(
                entries=[entry(site_id), entry(UNKNOWN)]
            ),
            "NOT_FOUND",
        ),
        (
            stubs.live_data.DeleteLiveDataEntry,
            live_data_pb2.DeleteLiveDataEntryRequest(**names),
            "NOT_FOUND",
        ),
    ]
    for method, request, code in table:
        request.validate_only = True
        dry = fail(method, request)
        assert dry.code == code, request
        request.validate_only = False
        assert fail(method, request) == dry, request
    assert contents(database) == before
