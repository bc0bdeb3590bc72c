"""Every settable field of every resource goes in and comes out on every way.

The fields and their values come from the contract, so that a new field needs no change here. A
failure names the way in, the way out and the field.
"""

import subprocess

import grpc
from energysites.v1 import configurations_pb2, live_data_pb2, sites_pb2
from google.protobuf import field_mask_pb2

from support.calls import create_site, new_uuid
from support.ingest import Ingest
from support.round_trip import (
    as_json, lost, of_csv, of_json, of_lines, samples, settable, write_csv,
)  # fmt: skip
from support.server import BINARY
from support.watch import Watch

SITE = sites_pb2.Site
CONFIGURATION = configurations_pb2.Configuration
ENTRY = live_data_pb2.LiveDataEntry


def ok(answer):
    assert answer.status_code == 200, answer.text
    return answer


def run(service, command, *arguments):
    done = subprocess.run(
        [BINARY, command, *service.client_flags(), *map(str, arguments)],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    return done.stdout if done.returncode == 0 else None, done.stderr


def creates(method, request, field, messages):
    """What create answers, tried, done and done again by its request_id."""
    def call(message, **more):
        return method(request(**{field: message}, **more), timeout=30)

    ids = [new_uuid() for _ in messages]
    return {
        "validate_only": [call(one, validate_only=True) for one in messages],
        "create": [call(one, request_id=name) for one, name in zip(messages, ids)],
        "create again": [call(one, request_id=name) for one, name in zip(messages, ids)],
    }  # fmt: skip


def everything(kind):
    names = [field.name for field in settable(kind) if field.name != "site_id"]
    return field_mask_pb2.FieldMask(paths=names)


def rest_creates(rest, path, messages, without=()):
    answers = [ok(rest.post(path, as_json(one, without))).json() for one in messages]
    return {"create": [of_json(type(messages[0]), one) for one in answers]}


def updated(messages):
    """What is stored before each of the messages is set by an update."""
    return [messages[1], messages[2], messages[1]]


def updates(create, request, update, field, messages):
    found = []
    for before, after in zip(updated(messages), messages):
        changed = type(after)()
        changed.CopyFrom(after)
        changed.id = create(before).id
        mask = everything(type(after))
        found.append(update(request(**{field: changed}, update_mask=mask), timeout=30))
    return {"update": found}


def patches(rest, create, path, messages):
    found = []
    for before, after in zip(updated(messages), messages):
        target = f"{path}/{create(before).id}?update_mask={','.join(everything(type(after)).paths)}"
        answer = ok(rest.patch(target, as_json(after, without=["site_id"])))
        found.append(of_json(type(after), answer.json()))
    return {"patch": found}


def imported(service, folder, flag, messages, site_name=None):
    file = folder / f"{flag}.csv"
    write_csv(file, messages, site_name)
    stdout, stderr = run(service, "import", f"--{flag}={file}")
    return {} if stdout is not None else {f"failed ({stderr.strip()})": []}


def compare(way, sent, answers, stored):
    """What is lost in the answers of the way in, and on each way out."""
    found = []
    for out, got in {**answers, **stored}.items():
        try:
            got = got() if callable(got) else got
        except (AssertionError, grpc.RpcError) as error:
            found.append(f"{way} -> {out}: {error}")
        else:
            found += lost(f"{way} -> {out}", sent, got)
    return found


def test_sites(service, stubs, rest, tmp_path):
    calls = stubs.sites

    def create(site):
        return calls.CreateSite(sites_pb2.CreateSiteRequest(site=site), timeout=30)

    ways = {
        "gRPC": lambda sent: creates(calls.CreateSite, sites_pb2.CreateSiteRequest, "site", sent),
        "REST": lambda sent: rest_creates(rest, "/v1/sites", sent),
        "gRPC update": lambda sent: updates(
            create, sites_pb2.UpdateSiteRequest, calls.UpdateSite, "site", sent
        ),
        "REST update": lambda sent: patches(rest, create, "/v1/sites", sent),
        "import": lambda sent: imported(service, tmp_path, "sites", sent),
    }
    found = []
    for way, store in ways.items():
        sent = samples(SITE)
        answers = store(sent)
        listed = list(calls.ListSites(sites_pb2.ListSitesRequest()).sites)
        over_rest = ok(rest.get("/v1/sites")).json()["sites"]
        found += compare(way, sent, answers, {
            "list": listed,
            "REST list": [of_json(SITE, one) for one in over_rest],
            "get": [calls.GetSite(sites_pb2.GetSiteRequest(id=one.id)) for one in listed],
            "REST get": [
                of_json(SITE, ok(rest.get(f"/v1/sites/{one.id}")).json()) for one in listed
            ],
        })  # fmt: skip
        for one in listed:
            calls.DeleteSite(sites_pb2.DeleteSiteRequest(id=one.id), timeout=30)
    assert not found, "\n".join(found)


def test_configurations(service, stubs, rest, tmp_path):
    calls = stubs.configurations

    def create(configuration):
        request = configurations_pb2.CreateConfigurationRequest(configuration=configuration)
        return calls.CreateConfiguration(request, timeout=30)

    found = []
    for way in ("gRPC", "REST", "REST flat", "gRPC update", "REST update", "import"):
        site = create_site(stubs, name=f"by {way}")
        path = f"/v1/sites/{site.id}/configurations"
        sent = samples(CONFIGURATION, site.id)
        answers = {
            "gRPC": lambda: creates(
                calls.CreateConfiguration, configurations_pb2.CreateConfigurationRequest,
                "configuration", sent,
            ),
            "REST": lambda: rest_creates(rest, path, sent, without=["site_id"]),
            "REST flat": lambda: rest_creates(rest, "/v1/configurations", sent),
            "gRPC update": lambda: updates(
                create, configurations_pb2.UpdateConfigurationRequest, calls.UpdateConfiguration,
                "configuration", sent,
            ),
            "REST update": lambda: patches(rest, create, path, sent),
            "import": lambda: imported(service, tmp_path, "configurations", sent, site.name),
        }[way]()  # fmt: skip

        def page(**scope):
            request = configurations_pb2.ListConfigurationsRequest(page_size=1000, **scope)
            return [one for one in calls.ListConfigurations(request).configurations
                    if one.site_id == site.id]  # fmt: skip

        listed = page(site_id=site.id)
        get = configurations_pb2.GetConfigurationRequest
        over_rest = ok(rest.get(path)).json()["configurations"]
        found += compare(way, sent, answers, {
            "list": listed,
            "list across sites": page(),
            "REST list": [of_json(CONFIGURATION, one) for one in over_rest],
            "get": [calls.GetConfiguration(get(site_id=site.id, id=one.id)) for one in listed],
            "REST get": [
                of_json(CONFIGURATION, ok(rest.get(f"{path}/{one.id}")).json()) for one in listed
            ],
        })  # fmt: skip
    assert not found, "\n".join(found)


def ingested(stubs, session, messages):
    stream = Ingest(stubs, session)
    stream.send(1, messages)
    stream.rest()
    return {}


def batch(stubs, messages, **more):
    request = live_data_pb2.BatchCreateLiveDataEntriesRequest(entries=messages, **more)
    answer = stubs.live_data.BatchCreateLiveDataEntries(request, timeout=30)
    return list(answer.live_data_entries)


def rest_batch(rest, messages):
    body = {"entries": [as_json(one) for one in messages]}
    answer = ok(rest.post("/v1/liveData:batchCreate", body)).json()
    return {"batch": [of_json(ENTRY, one) for one in answer["live_data_entries"]]}


def entries_out(service, stubs, rest, site):
    """The site's entries on each way out, by ascending time, or what gets them."""
    calls = stubs.live_data

    def page(**scope):
        request = live_data_pb2.ListLiveDataEntriesRequest(
            page_size=1000, order_by="dt_stamp", **scope
        )
        return [one for one in calls.ListLiveDataEntries(request).live_data_entries
                if one.site_id == site.id]  # fmt: skip

    def download(form):
        return ok(rest.get(f"/v1/liveData:download?site_ids={site.id}&format={form}")).text

    listed = page(site_id=site.id)
    get = live_data_pb2.GetLiveDataEntryRequest
    path = f"/v1/sites/{site.id}/liveData"
    over_rest = ok(rest.get(f"{path}?order_by=dt_stamp")).json()["live_data_entries"]
    export = live_data_pb2.ExportLiveDataRequest(site_ids=[site.id])

    def command():
        exported, stderr = run(service, "export", f"--site={site.name}")
        assert exported, stderr
        return of_csv(ENTRY, exported, site.id)

    return {
        "list": listed,
        "list across sites": page(),
        "REST list": [of_json(ENTRY, one) for one in over_rest],
        "get": [calls.GetLiveDataEntry(get(site_id=site.id, id=one.id)) for one in listed],
        "REST get": [of_json(ENTRY, ok(rest.get(f"{path}/{one.id}")).json()) for one in listed],
        "export stream": lambda: [one for part in calls.ExportLiveData(export, timeout=30)
                                  for one in part.live_data_entries],
        "CSV download": lambda: of_csv(ENTRY, download("csv"), site.id),
        "NDJSON download": lambda: of_lines(ENTRY, download("ndjson")),
        "export": command,
    }  # fmt: skip


def test_live_data_entries(service, stubs, rest, tmp_path):
    calls = stubs.live_data
    found = []
    for number, way in enumerate(
        ("gRPC", "REST", "REST flat", "batch", "partial batch", "REST batch", "ingest", "import")
    ):
        site = create_site(stubs, name=f"by {way}")
        path = f"/v1/sites/{site.id}/liveData"
        sent = samples(ENTRY, site.id)
        watch = Watch(stubs, [site.id])
        answers = {
            "gRPC": lambda: creates(
                calls.CreateLiveDataEntry, live_data_pb2.CreateLiveDataEntryRequest,
                "live_data_entry", sent,
            ),
            "REST": lambda: rest_creates(rest, path, sent, without=["site_id"]),
            "REST flat": lambda: rest_creates(rest, "/v1/liveData", sent),
            "batch": lambda: {"batch": batch(stubs, sent)},
            "partial batch": lambda: {"batch": batch(stubs, sent, return_partial_success=True)},
            "REST batch": lambda: rest_batch(rest, sent),
            "ingest": lambda: ingested(stubs, f"round-trip-{number}", sent),
            "import": lambda: imported(service, tmp_path, "live_data", sent, site.name),
        }[way]()  # fmt: skip
        stored = entries_out(service, stubs, rest, site)
        if stored["list"]:
            watch.wait(len(stored["list"]))
            stored["watch"] = sorted(watch.entries, key=lambda one: one.dt_stamp.ToNanoseconds())
        watch.cancel()
        found += compare(way, sent, answers, stored)
        latest = calls.GetLatestLiveData(live_data_pb2.GetLatestLiveDataRequest(site_ids=[site.id]))
        found += lost(f"{way} -> latest", sent[-1:], list(latest.live_data_entries))
    assert not found, "\n".join(found)
