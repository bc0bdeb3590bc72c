"""The process around the services: health, reflection, metrics, logs, flags, and its end."""

import json
import re
import signal
import socket
import subprocess

import grpc
import pytest
import requests
from energysites.v1 import live_data_pb2, sites_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from support.calls import create_site, entry, fail, site
from support.process import wait_until
from support.server import BINARY
from support.stubs import Stubs

SERVICES = {"sites": "Sites", "configurations": "Configurations", "live_data": "LiveData"}
SERVING, NOT_SERVING = (
    health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING,
)  # fmt: skip


def run(*arguments, database=None, **environment):
    """Runs the binary to its end."""
    urls = {"DATABASE_URL": database.app_url} if database else {}
    return subprocess.run(
        [BINARY, *arguments], env={**urls, **environment}, capture_output=True, text=True, timeout=30,
        check=False,
    )  # fmt: skip


def health_of(stubs, service=""):
    request = health_pb2.HealthCheckRequest(service=service)
    return health_pb2_grpc.HealthStub(stubs.channel).Check(request, timeout=10).status


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


@pytest.mark.parametrize("served", [["sites"], ["configurations", "live_data"]])
def test_only_the_services_asked_for(start_server, database, served):
    server = start_server(database, flags=[f"--services={','.join(served)}"])
    stubs = Stubs(server.address)
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


def metric(server, name, **labels):
    """The value of the one series with these labels."""
    text = requests.get(f"{server.admin_url}/metrics", timeout=10).text
    found = [
        float(line.rsplit(" ", 1)[1])
        for line in text.splitlines()
        if re.match(rf"{name}[{{ ]", line) and all(f'{key}="{labels[key]}"' in line for key in labels)
    ]
    assert len(found) == 1, (name, labels, found)
    return found[0]


def test_metrics_count_each_call_by_its_code(server, stubs):
    create_site(stubs)
    for request in (site(name=""), site(location="")):
        fail(stubs.sites.CreateSite, sites_pb2.CreateSiteRequest(site=request))
    fail(stubs.sites.GetSite, sites_pb2.GetSiteRequest(id=999))
    labels = {"grpc_service": "energysites.v1.Sites", "grpc_method": "CreateSite"}
    for code, count in (("OK", 1), ("InvalidArgument", 2), ("NotFound", 0)):
        assert metric(server, "grpc_server_handled_total", **labels, grpc_code=code) == count
    assert metric(server, "grpc_server_started_total", **labels) == 3
    assert metric(server, "grpc_server_handling_seconds_count", **labels) == 3
    labels["grpc_method"] = "GetSite"
    assert metric(server, "grpc_server_handled_total", **labels, grpc_code="NotFound") == 1
    assert metric(server, "energy_sites_database_available") == 1
    assert metric(server, "energy_sites_executor_running_calls") == 0
    for page, code in (("livez", 200), ("readyz", 200), ("metrics", 200), ("", 404), ("other", 404)):
        assert requests.get(f"{server.admin_url}/{page}", timeout=10).status_code == code


def log_lines(server):
    """What the server logged; every line of it is JSON."""
    return [json.loads(line) for line in server.log.read_text().splitlines()]


def test_one_log_line_for_each_call_and_nothing_of_what_it_says(server, stubs):
    secret = "Geheimrat\u0007Straße"
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    created = stubs.sites.CreateSite(
        sites_pb2.CreateSiteRequest(site=site(name="Geheimrat", location="Straße 7")),
        metadata=[("traceparent", trace)],
    )
    fail(stubs.sites.CreateSite, sites_pb2.CreateSiteRequest(site=site(name=secret), request_id=secret[:9]))
    request = live_data_pb2.CreateLiveDataEntryRequest(live_data_entry=entry(created.id, soc=77.125))
    stubs.live_data.CreateLiveDataEntry(request)
    fail(stubs.channel.unary_unary("/energysites.v1.Sites/GetSite"), b"\xff")
    server.stop()
    lines = log_lines(server)
    calls = [line for line in lines if line["event"] == "call"]
    assert [(call["grpc_service"], call["grpc_method"], call["grpc_code"]) for call in calls] == [
        ("energysites.v1.Sites", "CreateSite", "OK"),
        ("energysites.v1.Sites", "CreateSite", "InvalidArgument"),
        ("energysites.v1.LiveData", "CreateLiveDataEntry", "OK"),
        ("energysites.v1.Sites", "GetSite", "InvalidArgument"),
    ]
    assert calls[0]["traceparent"] == trace
    assert all(call["milliseconds"] >= 0 and call["peer"] and call["level"] == "info" for call in calls)
    text = server.log.read_text()
    for value in ("Geheimrat", "Straße", "77.125", "password", "postgresql://"):
        assert value not in text


def test_a_header_cannot_forge_a_log_line(server, stubs):
    forged = '"} {"event":"call"\\'
    stubs.sites.ListSites(sites_pb2.ListSitesRequest(), metadata=[("traceparent", forged)])
    server.stop()
    (call,) = [line for line in log_lines(server) if line["event"] == "call"]
    assert forged.startswith(call["traceparent"])


def make_certificates(folder):
    """An authority, and what it signed: `server` for 127.0.0.1, and `client`."""

    def openssl(*arguments):
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    new = ["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    for authority in ("ca", "stranger"):
        openssl(*new, "-keyout", f"{authority}.key", "-out", f"{authority}.pem", "-subj", f"/CN={authority}")
    for name, authority in (("server", "ca"), ("client", "ca"), ("spy", "stranger")):
        openssl(*new, "-CA", f"{authority}.pem", "-CAkey", f"{authority}.key", "-keyout", f"{name}.key",
                "-out", f"{name}.pem", "-subj", f"/CN={name}", "-addext", "basicConstraints=critical,CA:FALSE",
                "-addext", "subjectAltName=IP:127.0.0.1")  # fmt: skip
    return lambda name: (folder / name).read_bytes()


def tls_call(address, authority, key=None, certificate=None):
    """The code of a call over TLS."""
    credentials = grpc.ssl_channel_credentials(authority, key, certificate)
    with grpc.secure_channel(address, credentials) as channel:
        try:
            channel.unary_unary("/energysites.v1.Sites/ListSites")(b"", timeout=10)
            return "OK"
        except grpc.RpcError as error:
            return error.code().name


def test_tls(start_server, database, tmp_path):
    read = make_certificates(tmp_path)
    pair = [f"--tls_cert={tmp_path}/server.pem", f"--tls_key={tmp_path}/server.key"]
    server = start_server(database, flags=pair)
    assert tls_call(server.address, read("ca.pem")) == "OK"
    assert tls_call(server.address, read("stranger.pem")) == "UNAVAILABLE"
    plain = Stubs(server.address)
    assert fail(plain.sites.ListSites, sites_pb2.ListSitesRequest()).code == "UNAVAILABLE"
    plain.close()

    server = start_server(database, flags=[*pair, f"--tls_client_ca={tmp_path}/ca.pem"])
    known, spy = (read("client.key"), read("client.pem")), (read("spy.key"), read("spy.pem"))
    assert tls_call(server.address, read("ca.pem"), *known) == "OK"
    assert tls_call(server.address, read("ca.pem"), *spy) == "UNAVAILABLE"
    assert tls_call(server.address, read("ca.pem")) == "UNAVAILABLE"


def test_bad_starts_end_with_1_and_say_why(database, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        free = ["--listen_address=127.0.0.1:0", "--admin_address="]
        table = {
            "a taken port": ([f"--listen_address=127.0.0.1:{port}"], f"127.0.0.1:{port}"),
            "a taken admin port": ([free[0], f"--admin_address=127.0.0.1:{port}"], f"127.0.0.1:{port}"),
            "an unknown flag": (["--prot=1"], "prot"),
            "a number that is none": (["--queue_limit=many"], "queue_limit"),
            "a number out of range": (["--database_connections=0"], "--database_connections"),
            "an unknown service": (["--services=sites,windmills"], "windmills"),
            "a certificate without a key": (["--tls_cert=x.pem"], "--tls_key"),
            "a certificate that is not there": (["--tls_cert=/no/x.pem", "--tls_key=/no/x.key"], "/no/x.pem"),
            "a secret that is not there": (["--database_url_file=/no/secret"], "/no/secret"),
        }
        for name, (flags, text) in table.items():
            result = run("serve", *free, *flags, database=database)
            assert (result.returncode, text in result.stderr) == (1, True), (name, result)
    result = run("serve", database=database, ENERGY_SITES_QUEUE_LIMIT="lots")
    assert result.returncode == 1 and "ENERGY_SITES_QUEUE_LIMIT" in result.stderr
    for command in ([], ["serv"], ["serve", "now"]):
        result = run(*command)
        assert result.returncode == 1 and "Usage" in result.stderr


def test_configuration_is_printed_without_its_secrets(database, tmp_path):
    secret = database.app_url.split(":")[2].split("@")[0]
    result = run("serve", "--print_config", "--queue-limit=17", database=database,
                 ENERGY_SITES_DRAIN_SECONDS="3", ENERGY_SITES_QUEUE_LIMIT="18")  # fmt: skip
    assert result.returncode == 0
    assert "--queue_limit=17\n" in result.stdout, "a flag goes before the environment"
    assert "--drain_seconds=3\n" in result.stdout
    assert database.name in result.stdout
    assert secret and secret not in result.stdout + result.stderr
    (tmp_path / "url").write_text(database.app_url + "\n")
    result = run("serve", "--print_config", f"--database_url_file={tmp_path}/url")
    assert database.name in result.stdout and secret not in result.stdout
    assert run("version").stdout.startswith("energy-sites ")


class SlowCall:
    """A call that waits for a row that the test holds locked."""

    def __init__(self, stubs, database):
        one = create_site(stubs)
        self._lock = database.connect()
        self._lock.execute("BEGIN")
        self._lock.execute(f"SELECT FROM sites WHERE id = {one.id} FOR UPDATE")
        request = sites_pb2.UpdateSiteRequest(site=site(id=one.id, name="Late"))
        self.call = stubs.sites.UpdateSite.future(request, timeout=60)
        waiting = "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        wait_until(lambda: database.query(waiting), 20, "the call waits for the lock")

    def release(self):
        self._lock.close()


def test_drain(server, stubs, database):
    health = health_pb2_grpc.HealthStub(stubs.channel)
    watch = health.Watch(health_pb2.HealthCheckRequest(), timeout=60)
    assert next(watch).status == SERVING
    slow = SlowCall(stubs, database)
    server.process.signal(signal.SIGTERM)
    # Told before anything ends; the call under way is answered all the same.
    assert next(watch).status == NOT_SERVING
    wait_until(lambda: not server.admin_answers("readyz"), 10, "readyz says no")
    assert server.admin_answers("livez")
    watch.cancel()
    slow.release()
    assert slow.call.result(timeout=20).name == "Late"
    assert server.process.wait(20) == 0
    assert database.query("SELECT name FROM sites") == [("Late",)]
    assert [line["event"] for line in log_lines(server)][-1] == "stopped"


def test_drain_is_cut(start_server, database):
    server = start_server(database, flags=["--drain_seconds=1", "--lock_timeout=30s"])
    stubs = Stubs(server.address)
    slow = SlowCall(stubs, database)
    server.process.signal(signal.SIGTERM)
    assert server.process.wait(10) == 0
    assert slow.call.code().name in ("UNAVAILABLE", "CANCELLED")
    slow.release()
    assert database.query("SELECT name FROM sites") == [(site().name,)]
    stubs.close()


def test_a_second_server_on_the_port_ends(server, database):
    result = run("serve", f"--listen_address={server.address}", "--admin_address=", database=database)
    assert result.returncode == 1 and server.address in result.stderr
