"""SQL in every string field of every rpc: refused by a rule or stored verbatim, and no more than that."""

import itertools

import pytest
from energysites.v1 import configurations_pb2, live_data_pb2, sites_pb2
from google.rpc import code_pb2

from support import rest_binding
from support.calls import (
    JUNE, configuration, contents, create_site, entry, new_uuid, outcome, site, stamp,
)  # fmt: skip

PAYLOADS = [
    "'; DROP TABLE live_data; --",
    "x'); DELETE FROM sites; --",
    "' OR '1'='1",
    "\\'; UPDATE sites SET name = 'owned'; --",
    "%s %1$s {0} ?",
    "' UNION SELECT rolpassword FROM pg_authid --",
    "ŕ'';/* čř */ --\u2028",
]
REFUSALS = {"INVALID_ARGUMENT", "NOT_FOUND", "ABORTED"}
# Everything in the database that is not a row of ours.
CATALOG = """SELECT 'class', relname::text, relkind::text FROM pg_class
             UNION ALL SELECT 'function', proname, md5(prosrc) FROM pg_proc
             UNION ALL SELECT 'role', rolname, rolsuper::text FROM pg_roles ORDER BY 1, 2, 3"""


def requests(site_id):
    """A good request for every rpc, by service and method; streams with one message."""
    of_site = {"site_id": site_id}
    ranged = {"site_ids": [site_id], "start_time": stamp(JUNE), "end_time": stamp(JUNE + 86400)}
    return {
        ("sites", "CreateSite"): sites_pb2.CreateSiteRequest(site=site(), request_id=new_uuid()),
        ("sites", "GetSite"): sites_pb2.GetSiteRequest(id=site_id),
        ("sites", "ListSites"): sites_pb2.ListSitesRequest(),
        ("sites", "UpdateSite"): sites_pb2.UpdateSiteRequest(site=site(id=site_id)),
        ("sites", "DeleteSite"): sites_pb2.DeleteSiteRequest(id=2**60),
        ("configurations", "CreateConfiguration"): configurations_pb2.CreateConfigurationRequest(
            configuration=configuration(site_id), request_id=new_uuid()),
        ("configurations", "GetConfiguration"): configurations_pb2.GetConfigurationRequest(
            id=1, **of_site),
        ("configurations", "ListConfigurations"): configurations_pb2.ListConfigurationsRequest(
            **of_site),
        ("configurations", "UpdateConfiguration"): configurations_pb2.UpdateConfigurationRequest(
            configuration=configuration(site_id, id=1)),
        ("configurations", "DeleteConfiguration"): configurations_pb2.DeleteConfigurationRequest(
            id=2**60, **of_site),
        ("live_data", "CreateLiveDataEntry"): live_data_pb2.CreateLiveDataEntryRequest(
            live_data_entry=entry(site_id), request_id=new_uuid()),
        ("live_data", "BatchCreateLiveDataEntries"):
            live_data_pb2.BatchCreateLiveDataEntriesRequest(
                entries=[entry(site_id)], request_id=new_uuid()),
        ("live_data", "GetLiveDataEntry"): live_data_pb2.GetLiveDataEntryRequest(id=1, **of_site),
        ("live_data", "ListLiveDataEntries"): live_data_pb2.ListLiveDataEntriesRequest(**of_site),
        ("live_data", "DeleteLiveDataEntry"): live_data_pb2.DeleteLiveDataEntryRequest(
            id=1, **of_site),
        ("live_data", "IngestLiveData"): live_data_pb2.IngestLiveDataRequest(
            start=live_data_pb2.IngestStart(session="meter")),
        ("live_data", "ExportLiveData"): live_data_pb2.ExportLiveDataRequest(
            site_ids=[site_id]),
        ("live_data", "DownloadLiveData"): live_data_pb2.DownloadLiveDataRequest(
            site_ids=[site_id]),
        ("live_data", "WatchLiveData"): live_data_pb2.WatchLiveDataRequest(site_ids=[site_id]),
        ("live_data", "GetLatestLiveData"): live_data_pb2.GetLatestLiveDataRequest(
            site_ids=[site_id]),
        ("live_data", "AggregateLiveData"): live_data_pb2.AggregateLiveDataRequest(
            bucket="day", **ranged),
    }  # fmt: skip


def string_fields(descriptor, path=()):
    """The paths of all strings in a message: (`site`, `name`)."""
    for field in descriptor.fields:
        here = (*path, field.name)
        if field.type == field.TYPE_STRING:
            yield here
        elif field.message_type and field.message_type.full_name != "google.protobuf.Timestamp":
            yield from string_fields(field.message_type, here)


def with_text(request, path, text):
    """`request` with `text` in the field at `path`, in each item where one is repeated."""
    changed = type(request)()
    changed.CopyFrom(request)
    if "request_id" in request.DESCRIPTOR.fields_by_name:
        changed.request_id = new_uuid()
    messages = [changed]
    for name in path[:-1]:
        inner = [getattr(message, name) for message in messages]
        messages = [one for found in inner for one in (found if hasattr(found, "append") else [found])]
    for message in messages:
        if hasattr(getattr(message, path[-1]), "append"):
            getattr(message, path[-1])[:] = [text]
        else:
            setattr(message, path[-1], text)
    return changed


METHODS = {
    (name, method.name): method
    for name, module in (
        ("sites", sites_pb2), ("configurations", configurations_pb2), ("live_data", live_data_pb2),
    )
    for service in module.DESCRIPTOR.services_by_name.values()
    for method in service.methods
}  # fmt: skip


class Grpc:
    """Calls by stubs: code and site, if the answer is one."""

    def __init__(self, stubs, _):
        self._stubs = stubs

    def __call__(self, service, name, request):
        answer = first_answer(self._stubs, service, name, request)
        if hasattr(answer, "code"):
            return answer.code, None
        is_site = isinstance(answer, sites_pb2.Site)
        fields = ("id", "name", "location")
        return "OK", {f: getattr(answer, f) for f in fields} if is_site else None


class RestCalls:
    """The same through Envoy, as far as REST can say it."""

    def __init__(self, _, rest):
        self._rest = rest

    def __call__(self, service, name, request):
        call = rest_binding.call_of(METHODS[service, name], request)
        answer = self._rest.call(call.method, call.path, params=call.query, json=call.json)
        if answer.status_code != 200:
            return code_pb2.Code.Name(answer.json()["code"]), None
        if name not in ("CreateSite", "UpdateSite"):
            return "OK", None
        stored = answer.json()
        return "OK", {**stored, "id": int(stored["id"])}


def first_answer(stubs, service, name, request):
    """The answer, or the first of a stream; or the Failure."""
    method = getattr(getattr(stubs, service), name)
    if name == "IngestLiveData":
        return outcome(lambda r, timeout: list(method(iter([r]), timeout=timeout)), request)
    if name in ("ExportLiveData", "DownloadLiveData", "WatchLiveData"):
        return outcome(lambda r, timeout: next(iter(method(r, timeout=timeout)), None), request)
    return outcome(method, request)


def test_every_rpc_is_tried(stubs):
    assert set(requests(create_site(stubs).id)) == set(METHODS)


@pytest.mark.parametrize("way", [Grpc, RestCalls])
def test_sql_in_every_string_is_text(stubs, rest, database, report, rounds, way):
    payloads = PAYLOADS[: rounds(2, len(PAYLOADS))]
    call = way(stubs, rest)
    site_id = create_site(stubs).id
    stubs.configurations.CreateConfiguration(
        configurations_pb2.CreateConfigurationRequest(configuration=configuration(site_id))
    )
    catalog = database.query(CATALOG)
    tried = stored = 0
    after = contents(database)
    for (service, name), request in requests(site_id).items():
        for path, payload in itertools.product(string_fields(request.DESCRIPTOR), payloads):
            before = after
            try:
                code, answer = call(service, name, with_text(request, path, payload))
            except rest_binding.NotExpressible:
                continue
            after = contents(database)
            tried += 1
            if code != "OK":
                assert code in REFUSALS, (name, path, payload)
                assert after == before, (name, path, payload)
            elif path[-1] in ("name", "location"):
                stored += 1
                assert answer[path[-1]] == payload
                read = stubs.sites.GetSite(sites_pb2.GetSiteRequest(id=answer["id"]), timeout=30)
                assert getattr(read, path[-1]) == payload
                # Nothing but the one site, and the memory of the request_id.
                assert changed_ids(before["sites"], after["sites"]) == {answer["id"]}
                for table in ("configurations", "live_data"):
                    assert after[table] == before[table]
    assert database.query(CATALOG) == catalog
    report.note("texts tried", tried)
    report.note("stored verbatim", stored)
    assert stored == 4 * len(payloads)


def changed_ids(before, after):
    return {row[0] for row in set(after) ^ set(before)}
