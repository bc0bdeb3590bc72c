"""From a token to the rows: the production gateway before real servers."""

import json

import pytest
from energysites.v1 import live_data_pb2, sites_pb2

from support.calls import create_entry, create_site, entry, fail, site
from support.rest_errors import check
from support.stubs import Stubs

ENTRY = {"dt_stamp": "2024-05-01T12:00:00Z", "soc": 50, "load_kwh": 1, "net_load_kwh": 0,
         "pv_notification": True, "bio_notification": False, "cro_notification": False}  # fmt: skip


@pytest.fixture
def sites(gateway, issuer):
    """The ids of two sites."""
    stubs = gateway.stubs(issuer.token())
    made = [create_site(stubs).id for _ in range(2)]
    stubs.close()
    return made


def test_a_bound_token_is_the_same_over_both(gateway, issuer, sites):
    own, other = sites
    token = issuer.token(site_ids=[str(own)])
    stubs, rest = gateway.stubs(token), gateway.rest(token)
    create_entry(stubs, own)
    assert rest.post(f"/v1/sites/{own}/liveData", ENTRY).ok
    refused = fail(stubs.live_data.CreateLiveDataEntry,
                   live_data_pb2.CreateLiveDataEntryRequest(live_data_entry=entry(other)))  # fmt: skip
    assert (refused.code, refused.reason) == ("PERMISSION_DENIED", "SITE_NOT_IN_TOKEN")
    for answer in (
        rest.post(f"/v1/sites/{other}/liveData", ENTRY),
        rest.post("/v1/liveData", {**ENTRY, "site_id": str(other)}),
        rest.get(f"/v1/sites/{other}"),
        rest.get("/v1/liveData"),
        rest.get(f"/v1/liveData:download?site_ids={own}&site_ids={other}"),
        rest.get("/v1/sites"),
    ):
        check(answer, 403, "PERMISSION_DENIED")
        assert "SITE_NOT_IN_TOKEN" in answer.text
    assert len(rest.get(f"/v1/liveData?site_id={own}").json()["live_data_entries"]) == 2
    stubs.close()


def test_nobody_passes_the_gateway_by(gateway, guarded_server, issuer):
    assert gateway.rest(issuer.token()).get("/v1/sites").ok
    plain = Stubs(guarded_server.address)
    assert fail(plain.sites.ListSites, sites_pb2.ListSitesRequest()).code == "UNAVAILABLE"
    plain.close()


@pytest.mark.parametrize(("verb", "path", "body", "unknown"), [
    ("POST", "/v1/sites", {"name": "A", "location": "B", "nmae": 1, "x": {"y": 1}}, ["site.nmae", "site.x"]),
    ("PATCH", "/v1/sites/1?update_mask=name", {"name": "A", "loc": 1}, ["site.loc"]),
    ("POST", "/v1/sites/1/configurations", {"battery": 1}, ["configuration.battery"]),
    ("POST", "/v1/configurations", {"battery": 1}, ["configuration.battery"]),
    ("PATCH", "/v1/sites/1/configurations/2", {"battery": 1}, ["configuration.battery"]),
    ("POST", "/v1/sites/1/liveData", {**ENTRY, "sco": 1}, ["live_data_entry.sco"]),
    ("POST", "/v1/liveData", {**ENTRY, "sco": 1}, ["live_data_entry.sco"]),
    ("POST", "/v1/liveData:batchCreate", {"entries": [ENTRY, {**ENTRY, "sco": 1}], "partial": True},
     ["entries[1].sco", "partial"]),
    ("POST", "/v1/liveData:batchCreate", {"entries": [{"sco": 1}] * 1000},
     [f"entries[{entry}].sco" for entry in range(1000)]),
])  # fmt: skip
def test_unknown_fields_are_refused(gateway, database, issuer, sites, verb, path, body, unknown):
    answer = gateway.rest(issuer.token()).call(verb, path, json=body)
    check(answer, 400, "INVALID_ARGUMENT", unknown[0])
    (bad_request,) = [one for one in answer.json()["details"] if "field_violations" in one]
    assert [one["field"] for one in bad_request["field_violations"]] == unknown
    assert {one["reason"] for one in bad_request["field_violations"]} == {"field.known"}
    assert database.query("SELECT count(*) FROM live_data") == [(0,)]


@pytest.mark.parametrize("kind", [
    "application/grpcx", "application/grpc-foo", "application/grpc;x", "application/grpc-web;x",
    "application/grpc,application/json", "Application/grpc",
])  # fmt: skip
def test_what_only_looks_like_grpc_is_a_body_of_rest(gateway, database, issuer, sites, kind):
    rest = gateway.rest(issuer.token(), **{"content-type": kind})
    answer = rest.call("POST", "/v1/sites", data='{"name": "A", "location": "B", "nmae": 1}')
    check(answer, 400, "INVALID_ARGUMENT", "site.nmae")
    check(rest.call("POST", "/v1/sites", data=b" " * 4194305), 413, "RESOURCE_EXHAUSTED")
    assert database.query("SELECT count(*) FROM sites") == [(len(sites),)]


def test_bodies_of_every_kind_go_through_or_are_told_why(gateway, issuer, sites):
    rest = gateway.rest(issuer.token())
    camel = {"dtStamp" if key == "dt_stamp" else key: value for key, value in ENTRY.items()}
    assert rest.post(f"/v1/sites/{sites[0]}/liveData", camel).ok
    for text in ("{", "{'soc': 1}", '{"soc": 1,}'):
        check(rest.call("POST", "/v1/liveData", data=text), 400, "INVALID_ARGUMENT", "JSON")
    check(rest.call("POST", "/v1/liveData"), 400, "INVALID_ARGUMENT", "dt_stamp")
    check(rest.call("POST", "/v1/nothing", json={"x": 1}), 404, "NOT_FOUND")
    check(rest.call("PATCH", "/v1/liveData", json={"x": 1}), 405, "UNIMPLEMENTED")
    # The largest that passes, and one that does not.
    most = 4194304
    text = json.dumps({**ENTRY, "site_id": str(sites[0])})
    assert rest.call("POST", "/v1/liveData", data=text + " " * (most - len(text))).ok
    check(rest.call("POST", "/v1/liveData", data=text + " " * most), 413, "RESOURCE_EXHAUSTED")


def test_a_message_goes_on_whole_or_not_at_all(gateway, issuer):
    """Over gRPC: the largest that passes, and one byte more."""
    token = issuer.token()
    stubs = gateway.stubs(token)
    request = sites_pb2.CreateSiteRequest(site=site(name="x" * 4194000))
    request.site.name += "x" * (4194304 - request.ByteSize())
    refused = fail(stubs.sites.CreateSite, request)
    assert (refused.code, refused.violations) == ("INVALID_ARGUMENT", [("site.name", "string.max_len")])
    request.site.name += "x"
    refused = fail(stubs.sites.CreateSite, request)
    assert (refused.code, "4194304" in refused.text) == ("RESOURCE_EXHAUSTED", True)
    stubs.close()
