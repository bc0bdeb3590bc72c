"""Sites, from creation to deletion, and every way in which a call is refused."""

import pytest
from energysites.v1 import configurations_pb2, live_data_pb2, sites_pb2

from support.calls import configuration, contents, create_site, entry, fail, site

UNKNOWN = 9_223_372_036_854_775_807

# Name and location in the body, mask -> name and location stored. The site is ("Old", "There").
MASKS = {
    "one field": (("New", "Here"), ["name"], ("New", "There")),
    "the other": (("New", "Here"), ["location"], ("Old", "Here")),
    "both": (("New", "Here"), ["location", "name"], ("New", "Here")),
    "one twice": (("New", "Here"), ["name", "name"], ("New", "There")),
    "a star": (("New", "Here"), ["*"], ("New", "Here")),
    "empty with both fields": (("New", "Here"), [], ("New", "Here")),
    "empty with one field": (("New", None), [], ("New", "There")),
    "a bad field outside the mask": (("New", ""), ["name"], ("New", "There")),
}

# The same -> violations.
BAD_MASKS = {
    "an unknown field": (("New", "Here"), ["nmae"], [("update_mask", "field_mask.settable")]),
    "the id": (("New", "Here"), ["id"], [("update_mask", "field_mask.settable")]),
    "the etag": (("New", "Here"), ["etag"], [("update_mask", "field_mask.settable")]),
    "an output field": (("New", "Here"), ["create_time"], [("update_mask", "field_mask.settable")]),
    "a path too deep": (("New", "Here"), ["name.x"], [("update_mask", "field_mask.settable")]),
    "a star with others": (
        ("New", "Here"),
        ["*", "name"],
        [("update_mask", "field_mask.settable")],
    ),
    "an empty path": (("New", "Here"), [""], [("update_mask", "field_mask.settable")]),
    "two unknown": (
        ("New", "Here"),
        ["x", "name", "y"],
        [("update_mask", "field_mask.settable")] * 2,
    ),
    "empty with no field": ((None, None), [], [("update_mask", "field_mask.not_empty")]),
    "a field that is missing": ((None, "Here"), ["name"], [("site.name", "required")]),
    "a star with one missing": (("New", None), ["*"], [("site.location", "required")]),
    "bad fields": (
        ("", "\x85"),
        ["*"],
        [("site.location", "string.pattern"), ("site.name", "string.min_len")],
    ),
}


def body(site_id, fields):
    name, location = fields
    return sites_pb2.Site(id=site_id, name=name, location=location)


def update(site_id, fields, mask):
    return sites_pb2.UpdateSiteRequest(site=body(site_id, fields), update_mask={"paths": mask})


def test_a_life(stubs):
    created = create_site(stubs, name="Old", location="There")
    assert created.id > 0 and created.etag
    assert created.create_time == created.update_time and created.create_time.seconds > 0
    get = sites_pb2.GetSiteRequest(id=created.id)
    assert stubs.sites.GetSite(get) == created

    changed = stubs.sites.UpdateSite(update(created.id, ("New", None), ["name"]))
    assert (changed.name, changed.location) == ("New", "There")
    assert changed.etag != created.etag
    assert changed.create_time == created.create_time
    assert changed.update_time.ToNanoseconds() > created.update_time.ToNanoseconds()
    assert stubs.sites.GetSite(get) == changed
    assert list(stubs.sites.ListSites(sites_pb2.ListSitesRequest()).sites) == [changed]

    stubs.sites.DeleteSite(sites_pb2.DeleteSiteRequest(id=created.id))
    assert not stubs.sites.ListSites(sites_pb2.ListSitesRequest()).sites
    assert create_site(stubs).id > created.id, "an id was used again"


def test_output_fields_are_ignored(stubs):
    sent = site(id=12345, etag="mine", create_time={"seconds": 1}, update_time={"seconds": 2})
    stored = stubs.sites.CreateSite(sites_pb2.CreateSiteRequest(site=sent))
    assert stored.id != 12345 and stored.etag != "mine"
    assert stored.create_time.seconds > 2 and stored.update_time.seconds > 2


def test_masks(stubs):
    for name, (fields, mask, expected) in MASKS.items():
        old = create_site(stubs, name="Old", location="There")
        new = stubs.sites.UpdateSite(update(old.id, fields, mask))
        assert (new.name, new.location) == expected, name
        assert stubs.sites.GetSite(sites_pb2.GetSiteRequest(id=old.id)) == new, name


def test_bad_masks_change_nothing(stubs, database):
    old = create_site(stubs, name="Old", location="There")
    before = contents(database)
    for name, (fields, mask, violations) in BAD_MASKS.items():
        failure = fail(stubs.sites.UpdateSite, update(old.id, fields, mask))
        assert (failure.code, failure.reason) == ("INVALID_ARGUMENT", "INVALID_REQUEST"), name
        assert failure.violations == violations, name
        assert all(
            violation.description for violation in failure.details["BadRequest"].field_violations
        )
    assert contents(database) == before


def test_an_etag_with_a_nul_matches_nothing(stubs, database):
    """Regression: the database took it for what is before the NUL, and so for none."""
    created = create_site(stubs)
    made = stubs.configurations.CreateConfiguration(
        configurations_pb2.CreateConfigurationRequest(configuration=configuration(created.id))
    )
    before = contents(database)
    for junk in ("\0", "\0stale"):
        for etag in (junk, created.etag + junk):
            changed = site(id=created.id, name="New", etag=etag)
            names = {"site_id": created.id, "id": made.id, "etag": etag}
            for method, request in (
                (stubs.sites.UpdateSite, sites_pb2.UpdateSiteRequest(site=changed)),
                (stubs.sites.DeleteSite, sites_pb2.DeleteSiteRequest(id=created.id, etag=etag)),
                (
                    stubs.configurations.UpdateConfiguration,
                    configurations_pb2.UpdateConfigurationRequest(
                        configuration={**names, "battery_vendor": "KATL"}
                    ),
                ),
                (
                    stubs.configurations.DeleteConfiguration,
                    configurations_pb2.DeleteConfigurationRequest(**names),
                ),
            ):
                assert fail(method, request).code == "ABORTED", request
    assert contents(database) == before


@pytest.mark.parametrize("deleted", [False, True], ids=["never there", "deleted"])
def test_unknown_sites(stubs, database, deleted):
    site_id = UNKNOWN
    if deleted:
        site_id = create_site(stubs).id
        stubs.sites.DeleteSite(sites_pb2.DeleteSiteRequest(id=site_id))
    before = contents(database)
    calls = [
        (stubs.sites.GetSite, sites_pb2.GetSiteRequest(id=site_id)),
        (stubs.sites.UpdateSite, update(site_id, ("New", "Here"), ["*"])),
        (stubs.sites.UpdateSite, sites_pb2.UpdateSiteRequest(site=site(id=site_id, etag="1"))),
        (stubs.sites.DeleteSite, sites_pb2.DeleteSiteRequest(id=site_id)),
        (stubs.sites.DeleteSite, sites_pb2.DeleteSiteRequest(id=site_id, etag="1")),
        (
            stubs.configurations.CreateConfiguration,
            configurations_pb2.CreateConfigurationRequest(configuration=configuration(site_id)),
        ),
        (
            stubs.configurations.ListConfigurations,
            configurations_pb2.ListConfigurationsRequest(site_id=site_id),
        ),
        (
            stubs.live_data.CreateLiveDataEntry,
            live_data_pb2.CreateLiveDataEntryRequest(live_data_entry=entry(site_id)),
        ),
        (
            stubs.live_data.ListLiveDataEntries,
            live_data_pb2.ListLiveDataEntriesRequest(site_id=site_id),
        ),
    ]
    for method, request in calls:
        failure = fail(method, request)
        assert failure.code == "NOT_FOUND", request
        resource = failure.details["ResourceInfo"]
        assert resource.resource_type == "energysites.v1.Site"
        assert resource.resource_name == str(site_id)
        assert resource.description == failure.text and str(site_id) in failure.text
    assert contents(database) == before


def test_all_violations_at_once_and_nothing_stored(stubs, database):
    request = sites_pb2.CreateSiteRequest(site=site(name="", location="a\nb"), request_id="?")
    failure = fail(stubs.sites.CreateSite, request)
    assert failure.code == "INVALID_ARGUMENT"
    assert failure.violations == [
        ("request_id", "string.uuid"),
        ("site.location", "string.pattern"),
        ("site.name", "string.min_len"),
    ]
    for field, _ in failure.violations:
        assert field in failure.text
    failure = fail(stubs.sites.CreateSite, sites_pb2.CreateSiteRequest())
    assert failure.violations == [("site", "required")]
    failure = fail(stubs.sites.GetSite, sites_pb2.GetSiteRequest(id=-1))
    assert failure.violations == [("id", "int64.gt")]
    assert not any(contents(database).values())


def test_rest_names_a_site_as_grpc_does(stubs, rest):
    created = create_site(stubs)
    found = rest.get(f"/v1/sites/{created.id}").json()
    assert (found["id"], found["name"], found["etag"]) == (
        str(created.id), created.name, created.etag,
    )  # fmt: skip
    changed = rest.patch(
        f"/v1/sites/{created.id}?update_mask=name", {"name": "Farm", "location": "elsewhere"}
    ).json()
    assert (changed["name"], changed["location"]) == ("Farm", created.location)
    assert [one["name"] for one in rest.get("/v1/sites").json()["sites"]] == ["Farm"]
    assert rest.delete(f"/v1/sites/{created.id}").json() == {}
    assert rest.get(f"/v1/sites/{created.id}").status_code == 404
