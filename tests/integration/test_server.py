"""What stands around the services: health, reflection, metrics and logs."""

import functools
import json

import grpc
import pytest
import requests
from energysites.v1 import live_data_pb2, sites_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from support.calls import create_site, entry, fail, site
from support.metrics import total
from support.process import wait_until

SERVICES = {"sites": "Sites", "configurations": "Configurations", "live_data": "LiveData"}
TRACE = "00-0af7651916cd43dd8448eb211c80319c-{:016x}-01"
SERVING = health_pb2.HealthCheckResponse.SERVING


def health_of(stubs, service=""):
    request = health_pb2.HealthCheckRequest(service=service)
    return health_pb2_grpc.HealthStub(stubs.channel).Check(request, timeout=10).status


@pytest.mark.one_server("each process has its own health")
def test_health_of_each_service(stubs):
    health = health_pb2_grpc.HealthStub(stubs.channel)
    for name in ("", *(f"energysites.v1.{name}" for name in SERVICES.values())):
        assert health_of(stubs, name) == SERVING
        watch = health.Watch(health_pb2.HealthCheckRequest(service=name), timeout=10)
        assert next(watch).status == SERVING
        watch.cancel()
    with pytest.raises(grpc.RpcError) as error:
        health_of(stubs, "energysites.v1.Windmills")
    assert error.value.code() == grpc.StatusCode.NOT_FOUND


@pytest.mark.one_server("about a process that serves less than all")
@pytest.mark.parametrize("served", [["sites"], ["configurations", "live_data"]])
def test_only_the_services_asked_for(start_server, database, served):
    server = start_server(database, flags=[f"--services={','.join(served)}"])
    stubs = server.stubs()
    for flag, name in SERVICES.items():
        service = f"energysites.v1.{name}"
        methods = live_data_pb2 if flag == "live_data" else sites_pb2 if flag == "sites" else None
        if flag in served:
            assert health_of(stubs, service) == SERVING
        else:
            with pytest.raises(grpc.RpcError) as error:
                health_of(stubs, service)
            assert error.value.code() == grpc.StatusCode.NOT_FOUND
        if methods:
            method = methods.DESCRIPTOR.services_by_name[name].methods[0].name
            failure = fail(stubs.channel.unary_unary(f"/{service}/{method}"), b"")
            assert failure.code == ("INVALID_ARGUMENT" if flag in served else "UNIMPLEMENTED")
    assert {name for name in listed_v1alpha(stubs) if name.startswith("energysites")} == {
        f"energysites.v1.{SERVICES[flag]}" for flag in served
    }
    stubs.close()


def listed_v1alpha(stubs):
    request = reflection_pb2.ServerReflectionRequest(list_services="*")
    reflection = reflection_pb2_grpc.ServerReflectionStub(stubs.channel)
    (answer,) = reflection.ServerReflectionInfo(iter([request]), timeout=10)
    return {service.name for service in answer.list_services_response.service}


@pytest.mark.one_server("each process has its own reflection")
@pytest.mark.parametrize("version", ["v1", "v1alpha"])
def test_reflection(stubs, version):
    """The two versions have the same messages, in packages of their own."""
    call = stubs.channel.stream_stream(
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )
    asked = [
        reflection_pb2.ServerReflectionRequest(list_services="*"),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol="energysites.v1.LiveData"),
        reflection_pb2.ServerReflectionRequest(file_by_filename="energysites/v1/sites.proto"),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol="energysites.v1.Windmills"),
    ]
    services, symbol, file, unknown = call(iter(asked), timeout=10)
    names = {service.name for service in services.list_services_response.service}
    assert names >= {f"energysites.v1.{name}" for name in SERVICES.values()}
    for answer, source in ((symbol, live_data_pb2), (file, sites_pb2)):
        files = answer.file_descriptor_response.file_descriptor_proto
        assert source.DESCRIPTOR.serialized_pb in files
    assert unknown.error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]


def test_metrics_count_each_call_by_its_code(service, stubs):
    create_site(stubs)
    for request in (site(name=""), site(location="")):
        fail(stubs.sites.CreateSite, sites_pb2.CreateSiteRequest(site=request))
    fail(stubs.sites.GetSite, sites_pb2.GetSiteRequest(id=999))
    servers = service.instances("sites")
    labels = {"grpc_service": "energysites.v1.Sites", "grpc_method": "CreateSite"}
    for code, count in (("OK", 1), ("InvalidArgument", 2), ("NotFound", 0)):
        assert total(servers, "grpc_server_handled_total", **labels, grpc_code=code) == count
    assert total(servers, "grpc_server_started_total", **labels) == 3
    assert total(servers, "grpc_server_handling_seconds_count", **labels) == 3
    labels["grpc_method"] = "GetSite"
    assert total(servers, "grpc_server_handled_total", **labels, grpc_code="NotFound") == 1
    assert total(servers, "energy_sites_database_available") == len(servers)
    # A call is answered before its connection is free again.
    running = "energy_sites_executor_running_calls"
    wait_until(lambda: total(servers, running, executor="unary") == 0, 10, "no call runs")
    for page, code in (
        ("livez", 200),
        ("readyz", 200),
        ("metrics", 200),
        ("", 404),
        ("other", 404),
    ):
        for server in servers:
            assert requests.get(f"{server.admin_url}/{page}", timeout=10).status_code == code


def log_lines(service):
    """What was logged; every line of it is JSON."""
    return [json.loads(line) for line in service.log_text().splitlines()]


def test_one_log_line_for_each_call_and_nothing_of_what_it_says(service, stubs):
    secret = "Geheimrat\u0007Straße"
    traces = [TRACE.format(number) for number in range(1, 5)]

    def traced(method, number):
        return functools.partial(method, metadata=[("traceparent", traces[number])])

    created = traced(stubs.sites.CreateSite, 0)(
        sites_pb2.CreateSiteRequest(site=site(name="Geheimrat", location="Straße 7"))
    )
    fail(
        traced(stubs.sites.CreateSite, 1),
        sites_pb2.CreateSiteRequest(site=site(name=secret), request_id=secret[:9]),
    )
    request = live_data_pb2.CreateLiveDataEntryRequest(
        live_data_entry=entry(created.id, soc=77.125)
    )
    traced(stubs.live_data.CreateLiveDataEntry, 2)(request)
    fail(traced(stubs.channel.unary_unary("/energysites.v1.Sites/GetSite"), 3), b"\xff")
    service.stop()
    lines = log_lines(service)
    calls = [line for line in lines if line["event"] == "call"]
    # Each instance logs its own calls, one by one.
    calls.sort(key=lambda call: traces.index(call["traceparent"]))
    assert [(call["grpc_service"], call["grpc_method"], call["grpc_code"]) for call in calls] == [
        ("energysites.v1.Sites", "CreateSite", "OK"),
        ("energysites.v1.Sites", "CreateSite", "InvalidArgument"),
        ("energysites.v1.LiveData", "CreateLiveDataEntry", "OK"),
        ("energysites.v1.Sites", "GetSite", "InvalidArgument"),
    ]
    assert [call["traceparent"] for call in calls] == traces
    assert all(
        call["milliseconds"] >= 0 and call["peer"] and call["level"] == "info" for call in calls
    )
    text = service.log_text()
    for value in ("Geheimrat", "Straße", "77.125", "password", "postgresql://"):
        assert value not in text


def test_a_header_cannot_forge_a_log_line(service, stubs):
    forged = '"} {"event":"call"\\'
    stubs.sites.ListSites(sites_pb2.ListSitesRequest(), metadata=[("traceparent", forged)])
    service.stop()
    (call,) = [line for line in log_lines(service) if line["event"] == "call"]
    assert call["traceparent"] == ""
