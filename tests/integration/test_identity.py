"""Who calls, as the gateway says it, and which sites a token that is bound to some may use."""

import concurrent.futures
import contextlib
import itertools
import json

import grpc
import pytest
from energysites.v1 import configurations_pb2, live_data_pb2, sites_pb2
from google.protobuf import field_mask_pb2, timestamp_pb2

from support.calls import (
    JUNE, configuration, create_entry, create_site, entry, fail, failure_of, new_uuid, site, store_many,
)  # fmt: skip
from support.gateway import server_tls
from support.ingest import Ingest, numbered, numbers_stored, refused
from support.metrics import value
from support.process import wait_until
from support.stubs import Stubs
from support.watch import Watch

SUBJECT, SITE_IDS = "x-energy-sites-subject", "x-energy-sites-site-ids"
HEADERS = pytest.mark.one_server("about headers that the gateway itself sets or takes away")
DENIED = ("PERMISSION_DENIED", "SITE_NOT_IN_TOKEN")


class WithHeaders(grpc.UnaryUnaryClientInterceptor, grpc.UnaryStreamClientInterceptor,
                  grpc.StreamStreamClientInterceptor):  # fmt: skip
    """Adds headers to every call."""

    def __init__(self, headers):
        self._headers = headers

    def _call(self, proceed, details, request):
        return proceed(details._replace(metadata=[*(details.metadata or ()), *self._headers]), request)

    intercept_unary_unary = intercept_unary_stream = intercept_stream_stream = _call


class AsGateway:
    """Calls a server as the gateway does: by its certificate, with headers that say who calls."""

    def __init__(self, server, folder):
        self.server = server
        self._folder, self._callers = folder, []

    def caller(self, *headers, certificate="gateway"):
        pair = (self._read(f"{certificate}.key"), self._read(f"{certificate}.pem")) if certificate else ()
        credentials = grpc.ssl_channel_credentials(self._read("ca.pem"), *pair)
        self._callers.append(Stubs(self.server.address, credentials, WithHeaders(headers)))
        return self._callers[-1]

    def close(self):
        for caller in self._callers:
            caller.close()

    def _read(self, name):
        return (self._folder / name).read_bytes()


@pytest.fixture
def as_gateway(request, start_server, database, certificates):
    """To a server with the flags that a test gives as its parameter."""
    flags = [*server_tls(certificates), *getattr(request, "param", ())]
    gateway = AsGateway(start_server(database, flags=flags), certificates)
    yield gateway
    gateway.close()


@pytest.fixture
def caller(request, start_service, database):
    """`caller(subject, sites)`: one whose token is bound to these sites; without them, to none."""
    made = []
    if request.config.getoption("--apart"):
        service = start_service(database)

        def caller(subject="meter-1", sites=...):
            ids = sites if sites is ... else [str(site) for site in sites]
            made.append(service.stubs(sub=subject, site_ids=ids))
            return made[-1]
    else:
        # By name: with --apart there is no such server.
        gateway = request.getfixturevalue("as_gateway")

        def caller(subject="meter-1", sites=...):
            ids = [] if sites is ... else [(SITE_IDS, json.dumps([str(site) for site in sites]))]
            return gateway.caller((SUBJECT, subject), *ids)

    yield caller
    for each in made:
        each.close()


@pytest.fixture
def sites(caller):
    """The ids of two sites."""
    everybody = caller("admin")
    return [create_site(everybody).id for _ in range(2)]


def listing(stubs):
    return fail(stubs.sites.ListSites, sites_pb2.ListSitesRequest())


@HEADERS
@pytest.mark.parametrize("headers", [
    [],
    [(SUBJECT, "")],
    [(SITE_IDS, '["1"]')],
    [(SUBJECT, "meter"), (SUBJECT, "admin")],
    [(SUBJECT, "meter"), (SITE_IDS, '["1"]'), (SITE_IDS, '["2"]')],
    *([(SUBJECT, "meter"), (SITE_IDS, text)]
      for text in ("", "1", '"1"', "null", "{}", '["1"', '["x"]', '["0"]', '["-1"]', "[1.5]", "[null]",
                   '[["1"]]', '["9223372036854775808"]', "[9007199254740993]", '["1 2"]')),
])  # fmt: skip
def test_a_call_that_the_gateway_has_not_vouched_for_is_refused(as_gateway, headers):
    failure = listing(as_gateway.caller(*headers))
    assert (failure.code, failure.reason) == ("UNAUTHENTICATED", "IDENTITY_MISSING")


@HEADERS
def test_a_call_without_the_gateways_certificate_is_refused(as_gateway):
    failure = listing(as_gateway.caller((SUBJECT, "admin"), certificate=None))
    assert (failure.code, failure.reason) == ("UNAUTHENTICATED", "IDENTITY_MISSING")
    # A stranger's does not even connect.
    assert listing(as_gateway.caller((SUBJECT, "admin"), certificate="spy")).code == "UNAVAILABLE"


@HEADERS
@pytest.mark.parametrize("header", [(SUBJECT, "admin"), (SITE_IDS, '["1"]')])
def test_without_a_gateway_nobody_says_who_calls(server, header):
    stubs = Stubs(server.address, None, WithHeaders([header]))
    watch = stubs.live_data.WatchLiveData(live_data_pb2.WatchLiveDataRequest(), timeout=30)
    export = stubs.live_data.ExportLiveData(live_data_pb2.ExportLiveDataRequest(), timeout=30)
    failures = [listing(stubs), first_failure(watch), first_failure(export), Ingest(stubs).failure()]
    assert {(failure.code, failure.reason) for failure in failures} == {
        ("UNAUTHENTICATED", "IDENTITY_NOT_EXPECTED")
    }
    stubs.close()


def first_failure(call):
    with pytest.raises(grpc.RpcError) as caught:
        next(call)
    return failure_of(caught.value)


def requests(site_id, configuration_id, entry_id):
    """Of every rpc but IngestLiveData, a request about the site; and about none, if it may be so."""
    span = {"start_time": timestamp_pb2.Timestamp(seconds=JUNE),
            "end_time": timestamp_pb2.Timestamp(seconds=JUNE + 3600)}  # fmt: skip
    name = field_mask_pb2.FieldMask(paths=["name"])
    units = field_mask_pb2.FieldMask(paths=["production_pv_units"])
    s, c, d = sites_pb2, configurations_pb2, live_data_pb2
    return {
        "Sites": {
            "CreateSite": (None, s.CreateSiteRequest(site=site(id=site_id))),
            "GetSite": (s.GetSiteRequest(id=site_id), None),
            "ListSites": (None, s.ListSitesRequest()),
            "UpdateSite": (s.UpdateSiteRequest(site=s.Site(id=site_id, name="Farm"), update_mask=name), None),
            "DeleteSite": (s.DeleteSiteRequest(id=site_id, validate_only=True), None),
        },
        "Configurations": {
            "CreateConfiguration": (c.CreateConfigurationRequest(configuration=configuration(site_id)), None),
            "GetConfiguration": (c.GetConfigurationRequest(site_id=site_id, id=configuration_id), None),
            "ListConfigurations": (c.ListConfigurationsRequest(site_id=site_id), c.ListConfigurationsRequest()),
            "UpdateConfiguration": (c.UpdateConfigurationRequest(
                configuration=c.Configuration(site_id=site_id, id=configuration_id, production_pv_units=3),
                update_mask=units), None),
            "DeleteConfiguration": (c.DeleteConfigurationRequest(
                site_id=site_id, id=configuration_id, validate_only=True), None),
        },
        "LiveData": {
            "CreateLiveDataEntry": (d.CreateLiveDataEntryRequest(live_data_entry=entry(site_id)), None),
            "BatchCreateLiveDataEntries": (
                d.BatchCreateLiveDataEntriesRequest(entries=[entry(site_id)] * 2), None),
            "GetLiveDataEntry": (d.GetLiveDataEntryRequest(site_id=site_id, id=entry_id), None),
            "ListLiveDataEntries": (d.ListLiveDataEntriesRequest(site_id=site_id), d.ListLiveDataEntriesRequest()),
            "DeleteLiveDataEntry": (d.DeleteLiveDataEntryRequest(
                site_id=site_id, id=entry_id, validate_only=True), None),
            "ExportLiveData": (d.ExportLiveDataRequest(site_ids=[site_id]), d.ExportLiveDataRequest()),
            "DownloadLiveData": (d.DownloadLiveDataRequest(site_ids=[site_id]), d.DownloadLiveDataRequest()),
            "WatchLiveData": (d.WatchLiveDataRequest(site_ids=[site_id]), d.WatchLiveDataRequest()),
            "GetLatestLiveData": (d.GetLatestLiveDataRequest(site_ids=[site_id]), None),
            "AggregateLiveData": (d.AggregateLiveDataRequest(site_ids=[site_id], bucket="hour", **span), None),
        },
    }  # fmt: skip


def call(stubs, service, method, request):
    """The code, and the reason of a failure."""
    stub = {"Sites": stubs.sites, "Configurations": stubs.configurations, "LiveData": stubs.live_data}
    try:
        answer = getattr(stub[service], method)(request, timeout=30)
        if hasattr(answer, "cancel"):
            next(answer)
            answer.cancel()
        return ("OK", "")
    except grpc.RpcError as error:
        failure = failure_of(error)
        return failure.code, failure.details["ErrorInfo"].reason if "ErrorInfo" in failure.details else ""


def test_a_bound_token_uses_its_own_sites_alone(caller, sites):
    everybody = caller("admin")
    made = {}
    for site_id in sites:
        made[site_id] = (
            everybody.configurations.CreateConfiguration(
                configurations_pb2.CreateConfigurationRequest(configuration=configuration(site_id)), timeout=30).id,
            create_entry(everybody, site_id).id,
        )  # fmt: skip
    own, other = sites
    meter, nobody = caller(sites=[own]), caller(sites=[])
    contract = {module.DESCRIPTOR.services_by_name[name]: name for module, name in
                ((sites_pb2, "Sites"), (configurations_pb2, "Configurations"), (live_data_pb2, "LiveData"))}  # fmt: skip
    of_own, of_other = requests(own, *made[own]), requests(other, *made[other])
    for service, name in contract.items():
        assert {m.name for m in service.methods} - {"IngestLiveData"} == set(of_own[name])
        for method, (about_site, about_all) in of_own[name].items():
            where = f"{name}/{method}"
            if about_site is not None:
                assert call(meter, name, method, about_site) == ("OK", ""), where
                assert call(nobody, name, method, about_site) == DENIED, where
                assert call(meter, name, method, of_other[name][method][0]) == DENIED, where
                assert call(everybody, name, method, of_other[name][method][0]) == ("OK", ""), where
            if about_all is not None:
                assert call(meter, name, method, about_all) == DENIED, where
                assert call(everybody, name, method, about_all) == ("OK", ""), where


def test_sites_of_a_set_are_each_looked_at(caller, sites):
    own, other = sites
    meter = caller(sites=[own])
    mixed = live_data_pb2.GetLatestLiveDataRequest(site_ids=[own, other])
    failure = fail(meter.live_data.GetLatestLiveData, mixed)
    assert failure.violations == [("site_ids[1]", "SITE_NOT_IN_TOKEN")]
    assert str(other) in failure.text


def test_a_batch_is_looked_at_entry_by_entry(caller, database, sites):
    own, other = sites
    meter = caller(sites=[own])
    mixed = [entry(own), entry(other), entry(own, soc=101), entry(other, soc=101)]
    whole = live_data_pb2.BatchCreateLiveDataEntriesRequest(entries=mixed[:2])
    failure = fail(meter.live_data.BatchCreateLiveDataEntries, whole)
    assert (failure.code, failure.violations) == (
        "PERMISSION_DENIED", [("entries[1].site_id", "SITE_NOT_IN_TOKEN")])  # fmt: skip
    assert database.query("SELECT count(*) FROM live_data") == [(0,)]

    parts = live_data_pb2.BatchCreateLiveDataEntriesRequest(entries=mixed, return_partial_success=True)
    answer = meter.live_data.BatchCreateLiveDataEntries(parts, timeout=30)
    codes = {index: failed.code for index, failed in answer.failed_requests.items()}
    assert codes == {1: grpc.StatusCode.PERMISSION_DENIED.value[0],
                     2: grpc.StatusCode.INVALID_ARGUMENT.value[0],
                     3: grpc.StatusCode.INVALID_ARGUMENT.value[0]}  # fmt: skip
    assert [stored.site_id for stored in answer.live_data_entries] == [own]
    assert database.query("SELECT site_id FROM live_data") == [(own,)]


def test_the_answer_to_a_batch_is_not_told_to_who_may_use_other_sites(caller, database, sites):
    """Regression: whoever sent the same batch with the same request_id got the first one's answer."""
    own, other = sites
    everybody, meter = caller("admin"), caller(sites=[own])
    for first, second in ((everybody, meter), (meter, everybody)):
        batch = live_data_pb2.BatchCreateLiveDataEntriesRequest(
            entries=[entry(own), entry(other)], return_partial_success=True, request_id=new_uuid()
        )
        answer = first.live_data.BatchCreateLiveDataEntries(batch, timeout=30)
        failure = fail(second.live_data.BatchCreateLiveDataEntries, batch)
        assert (failure.code, failure.reason) == ("ALREADY_EXISTS", "REQUEST_ID_REUSED")
        assert first.live_data.BatchCreateLiveDataEntries(batch, timeout=30) == answer
    assert database.query("SELECT count(*) FROM live_data") == [(3,)]


def test_a_stream_refuses_the_entries_of_other_sites_and_goes_on(caller, database, sites):
    own, other = sites
    stream = Ingest(caller(sites=[own]))
    stream.answer()
    stream.send(1, [*numbered(own, 0, 1), *numbered(other, 1, 1)])
    batch = refused(stream.until(1))[1]
    assert {index: failed.code for index, failed in batch.failed_entries.items()} == {
        1: grpc.StatusCode.PERMISSION_DENIED.value[0]
    }
    stream.send(2, numbered(own, 2, 1))
    stream.rest()
    assert numbers_stored(database) == [0, 2]


def test_a_session_is_its_subjects(caller, database, sites):
    own = sites[0]
    mine, other = caller("mine", [own]), caller("other", [own])
    stream = Ingest(mine)
    stream.send(1, numbered(own, 0, 1))
    assert stream.rest()[-1].committed_sequence == 1
    failure = Ingest(other, acknowledged=1).failure()
    assert (failure.code, failure.reason) == ("NOT_FOUND", "INGEST_SESSION_NOT_FOUND")
    # By the same name the other one has a session of its own.
    assert Ingest(other).answer().committed_sequence == 0
    assert Ingest(mine, acknowledged=1).answer().committed_sequence == 1


def test_a_resume_token_is_its_subjects(caller, sites):
    own = sites[0]
    mine = caller("mine", [own])
    watch = Watch(mine, [own])
    token = watch.token
    watch.cancel()
    # Whichever sites another one asks for.
    for site_id in sites:
        request = live_data_pb2.WatchLiveDataRequest(site_ids=[site_id], resume_token=token)
        other = caller("other", [site_id])
        failure = first_failure(other.live_data.WatchLiveData(request, timeout=30))
        assert (failure.code, failure.reason) == ("NOT_FOUND", "RESUME_TOKEN_NOT_FOUND")
    request = live_data_pb2.WatchLiveDataRequest(site_ids=[own], resume_token=token)
    again = mine.live_data.WatchLiveData(request, timeout=30)
    assert next(again).resume_token
    again.cancel()


def test_concurrent_callers_do_not_get_each_others_sites(caller, sites):
    own, other = sites
    callers = [(caller(sites=[own]), own), (caller(sites=[other]), other)]
    calls = []
    for (stubs, mine), site_id in itertools.product(callers, sites):
        request = sites_pb2.GetSiteRequest(id=site_id)
        calls.append((stubs.sites.GetSite.future(request, timeout=30), mine == site_id))
    for future, allowed in calls:
        assert (future.exception() is None) == allowed


def watched(stubs, site_id):
    """A watch that has begun."""
    call = stubs.live_data.WatchLiveData(live_data_pb2.WatchLiveDataRequest(site_ids=[site_id]), timeout=60)
    next(call)
    return call


def downloaded(stubs, site_id):
    """A download that has begun, and stays open while nobody reads on."""
    request = live_data_pb2.DownloadLiveDataRequest(site_ids=[site_id])
    call = stubs.live_data.DownloadLiveData(request, timeout=60)
    next(call)
    return call


def ingested(stubs, _):
    """An ingest stream that has begun."""
    stream = Ingest(stubs, session=new_uuid())
    stream.answer()
    return stream.call


def exported(stubs, site_id):
    """An export that has begun, and stays open while nobody reads on."""
    request = live_data_pb2.ExportLiveDataRequest(site_ids=[site_id])
    call = stubs.live_data.ExportLiveData(request, timeout=60)
    next(call)
    return call


@pytest.mark.one_server("the places are each process's own")
@pytest.mark.parametrize("as_gateway", [["--watch_limit=20", "--export_connections=20"]], indirect=True)
@pytest.mark.parametrize(("begin", "begin_more"), [
    (watched, watched), (exported, downloaded), (downloaded, exported), (ingested, ingested),
])  # fmt: skip
def test_a_device_does_not_take_the_streams_of_all(as_gateway, caller, database, begin, begin_more):
    backend = caller("backend")
    own = store_many(backend, database, 300_000)
    device = caller("device", [own])
    streams = [begin(device, own) for _ in range(2)]
    # Another token of the same subject makes no difference.
    with pytest.raises(grpc.RpcError) as refused:
        begin_more(caller("device", [own, own + 1]), own)
    failure = failure_of(refused.value)
    assert (failure.code, failure.reason) == ("RESOURCE_EXHAUSTED", "TOO_MANY_STREAMS")
    assert "RetryInfo" in failure.details
    streams.append(begin(caller("other", [own]), own))
    # Nor is a caller held back that is bound to no sites.
    streams += [begin(backend, own) for _ in range(3)]

    streams.pop(0).cancel()

    def begin_again():
        with contextlib.suppress(grpc.RpcError):
            return begin(device, own)

    streams.append(wait_until(begin_again, 30, "the place is free again"))
    for stream in streams:
        stream.cancel()


@pytest.mark.one_server("the connections are each process's own")
@pytest.mark.parametrize("as_gateway", [["--export_connections=8"]], indirect=True)
def test_devices_may_export_again_once_an_export_has_ended(as_gateway, caller, sites):
    """Regression: the next one came before the last one's connection was free, and was refused."""
    request = live_data_pb2.ExportLiveDataRequest(site_ids=sites)

    def export_again_and_again(device):
        for _ in range(300):
            assert not list(device.live_data.ExportLiveData(request, timeout=30))

    devices = [caller(f"device-{number}", sites) for number in range(8)]
    with concurrent.futures.ThreadPoolExecutor(len(devices)) as threads:
        list(threads.map(export_again_and_again, devices))


@pytest.mark.one_server("the queue is each process's own")
@pytest.mark.parametrize("as_gateway", [["--ingest_connections=1", "--lock_timeout=60s"]], indirect=True)
def test_who_opens_a_session_does_not_wait_for_all_of_another(as_gateway, caller, database):
    """Regression: sessions were opened in the order in which they came."""
    streams = []

    def arrived():
        names = [f"energy_sites_executor_{state}_calls" for state in ("running", "queued")]
        return sum(value(as_gateway.server, name, executor="ingest") for name in names)

    with database.connect() as connection:
        connection.execute("BEGIN")
        connection.execute("LOCK TABLE ingest_sessions")
        for subject in ["hasty"] * 5 + ["other"]:
            streams.append(Ingest(caller(subject), session=new_uuid()))
            wait_until(lambda: arrived() == len(streams), 10, "the session waits to be opened")
    for stream in streams:
        stream.answer()
    owners = database.query("SELECT owner FROM ingest_sessions ORDER BY update_time")
    assert owners.index(("other",)) <= 2, owners
