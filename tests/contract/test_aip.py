"""The contract follows the AIPs that `aip` knows, and each of its checks finds its fault."""

import pytest

import aip
from contract import elements


def field(contract, name):
    message, _, last = name.rpartition(".")
    return contract.field_at(contract.messages()[message], last)


def method(contract, name):
    return next(m for _, m in contract.methods() if m.name == name)


def comment(contract, name, text):
    """Replaces the comment before the element of this name."""
    for file in contract.files:
        paths = {path for path, known_as, _ in elements(file) if known_as == name}
        for location in file.source_code_info.location:
            if tuple(location.path) in paths:
                location.leading_comments = text


def without_extension(contract, element, extension):
    element.options.ClearExtension(contract.extensions[extension])


def retype(element, **changes):
    for name, value in changes.items():
        setattr(element, name, value)


STRING = 9
INT64 = 3

# Which check must find the fault, and how it is planted. A fault is planted by changing, not by
# removing, where a removal would move the comments of what follows.
PLANTED = {
    "get that answers with another type": (
        "standard_methods",
        lambda c: retype(method(c, "GetSite"), output_type=".energysites.v1.ListSitesResponse"),
    ),
    "get that takes another's request": (
        "standard_methods",
        lambda c: retype(method(c, "GetSite"), input_type=".energysites.v1.DeleteSiteRequest"),
    ),
    "delete that answers with the resource": (
        "standard_methods",
        lambda c: retype(method(c, "DeleteSite"), output_type=".energysites.v1.Site"),
    ),
    "update by PUT": (
        "standard_methods",
        lambda c: retype(c.http(method(c, "UpdateSite")), put="/v1/sites/{site.id}"),
    ),
    "create with the whole request as body": (
        "standard_methods",
        lambda c: retype(c.http(method(c, "CreateSite")), body="*"),
    ),
    "get with a body": (
        "standard_methods",
        lambda c: retype(c.http(method(c, "GetSite")), body="id"),
    ),
    "batch without its verb in the path": (
        "standard_methods",
        lambda c: retype(
            c.http(method(c, "BatchCreateLiveDataEntries")), post="/v1/sites/liveData"
        ),
    ),
    "additional binding outside of v1": (
        "standard_methods",
        lambda c: retype(
            c.http(method(c, "ListConfigurations")).additional_bindings[0], get="/configurations"
        ),
    ),
    "batch of one": (
        "standard_methods",
        lambda c: retype(field(c, "BatchCreateLiveDataEntriesRequest.entries"), label=1),
    ),
    "list under another name": (
        "standard_methods",
        lambda c: retype(field(c, "ListSitesResponse.sites"), name="results"),
    ),
    "custom method without its verb in the path": (
        "custom_methods",
        lambda c: retype(c.http(method(c, "WatchLiveData")), get="/v1/liveDataWatch"),
    ),
    "custom method under another verb": (
        "custom_methods",
        lambda c: retype(c.http(method(c, "GetLatestLiveData")), get="/v1/liveData:newest"),
    ),
    "custom method that posts nothing": (
        "custom_methods",
        lambda c: retype(c.http(method(c, "AggregateLiveData")), post="/v1/liveData:aggregate"),
    ),
    "rpc without http rule": (
        "http_rules",
        lambda c: without_extension(c, method(c, "ListSites"), "google.api.http"),
    ),
    "stream of answers without http rule": (
        "http_rules",
        lambda c: without_extension(c, method(c, "WatchLiveData"), "google.api.http"),
    ),
    "path variable that is no field": (
        "http_rules",
        lambda c: retype(c.http(method(c, "DeleteConfiguration")),
                         delete="/v1/sites/{site}/configurations/{id}"),
    ),
    "two rpcs on one path": (
        "http_rules",
        lambda c: retype(c.http(method(c, "ListConfigurations")).additional_bindings[0],
                         get="/v1/liveData"),
    ),
    "request field without behavior": (
        "field_behavior",
        lambda c: without_extension(c, field(c, "GetSiteRequest.id"), "google.api.field_behavior"),
    ),
    "resource field without behavior": (
        "field_behavior",
        lambda c: without_extension(c, field(c, "Site.name"), "google.api.field_behavior"),
    ),
    "required by rule only": (
        "field_behavior",
        lambda c: setattr(c.rules(field(c, "Configuration.production_pv_kwp")), "required", True),
    ),
    "page_size of 64 bits": (
        "paging",
        lambda c: retype(field(c, "ListSitesRequest.page_size"), type=INT64),
    ),
    "page_size below zero": (
        "paging",
        lambda c: c.rules(field(c, "ListSitesRequest.page_size")).int32.ClearField("gte"),
    ),
    "page_token as a number": (
        "paging",
        lambda c: retype(field(c, "ListSitesRequest.page_token"), type=INT64),
    ),
    "next_page_token under another name": (
        "paging",
        lambda c: retype(field(c, "ListSitesResponse.next_page_token"), name="next"),
    ),
    "list of one": (
        "paging",
        lambda c: retype(field(c, "ListSitesResponse.sites"), label=1),
    ),
    "update without mask": (
        "update_mask",
        lambda c: retype(field(c, "UpdateSiteRequest.update_mask"), name="fields"),
    ),
    "delete without validate_only": (
        "validate_only",
        lambda c: retype(field(c, "DeleteSiteRequest.validate_only"), name="dry_run"),
    ),
    "batch without request_id": (
        "request_id",
        lambda c: retype(field(c, "BatchCreateLiveDataEntriesRequest.request_id"), name="call"),
    ),
    "request_id that must be sent": (
        "request_id",
        lambda c: field(c, "CreateSiteRequest.request_id").ClearField("proto3_optional"),
    ),
    "request_id of any form": (
        "request_id",
        lambda c: retype(
            c.rules(field(c, "CreateSiteRequest.request_id")).string, uuid=False, pattern="^[a-z]*$"
        ),
    ),
    "quantity without unit": (
        "units",
        lambda c: retype(field(c, "LiveDataEntry.load_kwh"), name="load"),
    ),
    "comment without the unit": (
        "units",
        lambda c: comment(c, "Configuration.battery_max_power_kw", " Most power, in kWh."),
    ),
    "rpc without comment": ("comments_everywhere", lambda c: comment(c, "Sites.ListSites", "")),
    "service without comment": ("comments_everywhere", lambda c: comment(c, "Sites", " ")),
    "message without comment": ("comments_everywhere", lambda c: comment(c, "Site", "")),
    "field without comment": ("comments_everywhere", lambda c: comment(c, "Site.name", "")),
    "get that hides NOT_FOUND": (
        "error_codes",
        lambda c: comment(c, "Sites.GetSite", " Returns one site."),
    ),
    "create that hides an unknown site": (
        "error_codes",
        lambda c: comment(c, "LiveData.CreateLiveDataEntry", " Returns ALREADY_EXISTS."),
    ),
    "create that hides a reused request_id": (
        "error_codes",
        lambda c: comment(c, "Sites.CreateSite", " Creates a site."),
    ),
    "update that hides a stale etag": (
        "error_codes",
        lambda c: comment(c, "Sites.UpdateSite", " Returns NOT_FOUND."),
    ),
    "delete that hides a stale etag": (
        "error_codes",
        lambda c: comment(c, "Sites.DeleteSite", " Returns NOT_FOUND."),
    ),
    "text of a stream's requests of any content": (
        "string_rules",
        lambda c: c.rules(field(c, "IngestStart.session")).string.ClearField("pattern"),
    ),
    "string of any content": (
        "string_rules",
        lambda c: c.rules(field(c, "Site.name")).string.ClearField("pattern"),
    ),
    "order_by of any content": (
        "string_rules",
        lambda c: c.rules(field(c, "ListLiveDataEntriesRequest.order_by")).string.ClearField("in"),
    ),
    "id that is a number in JavaScript": (
        "ids_in_javascript",
        lambda c: field(c, "Site.id").options.ClearField("jstype"),
    ),
    "list of ids that are numbers in JavaScript": (
        "ids_in_javascript",
        lambda c: field(c, "WatchLiveDataRequest.site_ids").options.ClearField("jstype"),
    ),
}


def test_the_contract_follows_the_aips(contract):
    assert aip.findings(contract) == []


def test_the_checks_see_the_whole_contract(contract):
    assert {"Sites", "Configurations", "LiveData"} <= {s.name for s, _ in contract.methods()}
    assert {"Site", "Configuration", "LiveDataEntry"} <= set(aip.shapes.resources(contract))


@pytest.mark.parametrize(("check", "plant"), PLANTED.values(), ids=PLANTED)
def test_a_planted_fault_is_found_by_its_check_only(contract, check, plant):
    plant(contract)
    assert {finding.check for finding in aip.findings(contract)} == {check}


def test_every_check_has_a_planted_fault():
    assert {check for check, _ in PLANTED.values()} == {check.__name__ for check in aip.CHECKS}


def test_a_stream_of_requests_needs_no_http_rule(contract):
    without_extension(contract, method(contract, "CreateSite"), "google.api.http")
    method(contract, "CreateSite").client_streaming = True
    assert aip.findings(contract) == []


def test_an_export_needs_no_http_rule_as_long_as_there_are_downloads(contract):
    without_extension(contract, method(contract, "DownloadLiveData"), "google.api.http")
    assert {(finding.check, finding.where) for finding in aip.findings(contract)} == {
        ("http_rules", "LiveData.ExportLiveData"),
        ("http_rules", "LiveData.DownloadLiveData"),
    }
