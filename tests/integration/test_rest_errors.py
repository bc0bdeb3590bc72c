"""Every error of REST is a google.rpc.Status in JSON, whoever found it: the server or Envoy."""

import socket

import grpc
import pytest
from energysites.v1 import sites_pb2
from google.protobuf import json_format
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from support.envoy import Rest
from support.process import free_ports, wait_until
from support.rest_errors import check, details
from support.server import standing_still
from support.stubs import Stubs

LIMIT = 4 * 1024 * 1024
JSON = {"content-type": "application/json"}

# What is wrong: method, path, arguments of the call -> HTTP status, code, a part of the text.
FOUND_BY_ENVOY = {
    "malformed JSON": ("POST", "/v1/sites", {"data": '{"name":'}, 400, "INVALID_ARGUMENT", "JSON"),
    "no JSON at all": ("POST", "/v1/sites", {"data": "name=x"}, 400, "INVALID_ARGUMENT", ""),
    "JSON of another shape": ("POST", "/v1/sites", {"data": "[]"}, 400, "INVALID_ARGUMENT", "send {...}"),
    "invalid UTF-8": ("POST", "/v1/sites", {"data": b'{"name":"\xff"}'}, 400, "INVALID_ARGUMENT", "not UTF-8"),
    "an object for a text": ("POST", "/v1/sites", {"json": {"name": {}}}, 400, "INVALID_ARGUMENT", "name"),
    "a text for a number": ("POST", "/v1/liveData", {"json": {"soc": "full"}}, 400, "INVALID_ARGUMENT", "soc"),
    "a path's id that is no number": ("GET", "/v1/sites/first", {}, 400, "INVALID_ARGUMENT", "first"),
    "an id beyond 64 bits": ("GET", "/v1/sites/9223372036854775808", {}, 400, "INVALID_ARGUMENT", "id"),
    "an unknown query parameter": ("GET", "/v1/sites?pagesize=3", {}, 400, "INVALID_ARGUMENT", "pagesize"),
    "site_id in path and body": (
        "POST", "/v1/sites/4/liveData", {"json": {"site_id": "3"}}, 400, "INVALID_ARGUMENT", "site_id",
    ),
    "an escaped slash": ("GET", "/v1%2Fsites", {}, 400, "INVALID_ARGUMENT", "escaped slash (%2F"),
    "a header with an underscore": (
        "GET", "/v1/sites", {"headers": {"a_b": "1"}}, 400, "INVALID_ARGUMENT", "underscore",
    ),
    "an unknown path": ("GET", "/v1/farms", {}, 404, "NOT_FOUND", "/v1/farms"),
    "the root": ("GET", "/", {}, 404, "NOT_FOUND", ""),
    "a gRPC path without gRPC": (
        "POST", "/energysites.v1.Sites/ListSites", {"json": {}}, 404, "NOT_FOUND", "",
    ),
    "PUT of a collection": ("PUT", "/v1/sites", {"json": {}}, 405, "UNIMPLEMENTED", "GET, POST"),
    "DELETE of a collection": ("DELETE", "/v1/sites/1/liveData", {}, 405, "UNIMPLEMENTED", "DELETE"),
    "POST of an item": ("POST", "/v1/sites/1", {"json": {}}, 405, "UNIMPLEMENTED", "POST"),
    "PATCH of a live data entry": ("PATCH", "/v1/sites/1/liveData/2", {"json": {}}, 405, "UNIMPLEMENTED", "PATCH"),
    "GET of a custom method": ("GET", "/v1/liveData:batchCreate", {}, 405, "UNIMPLEMENTED", "GET"),
    "POST of a download": ("POST", "/v1/liveData:download", {"json": {}}, 405, "UNIMPLEMENTED", "POST"),
    "POST of a watch": ("POST", "/v1/liveData:watch?site_ids=1", {"json": {}}, 405, "UNIMPLEMENTED", "POST"),
    "PUT of the latest": ("PUT", "/v1/liveData:latest", {"json": {}}, 405, "UNIMPLEMENTED", "PUT"),
    "DELETE of an aggregate": ("DELETE", "/v1/liveData:aggregate", {}, 405, "UNIMPLEMENTED", "DELETE"),
    "an unknown custom method": ("GET", "/v1/liveData:newest", {}, 404, "NOT_FOUND", "newest"),
    "a list of ids in one parameter": (
        "GET", "/v1/liveData:latest?site_ids=1,2", {}, 400, "INVALID_ARGUMENT", "site_ids",
    ),
    "too large a body": ("POST", "/v1/sites", {"data": b" " * (LIMIT + 1)}, 413, "RESOURCE_EXHAUSTED", f"{LIMIT} bytes"),
    "too large a body in chunks": (
        "POST", "/v1/sites", {"data": (b" " * 65536 for _ in range(65))}, 413, "RESOURCE_EXHAUSTED", f"{LIMIT} bytes",
    ),
    "too large headers": ("GET", "/v1/sites", {"headers": {"x-long": "x" * 70000}}, 431, "RESOURCE_EXHAUSTED", "48 KiB"),
    "too long a path": ("GET", "/v1/sites?page_token=" + "x" * 70000, {}, 431, "RESOURCE_EXHAUSTED", "48 KiB"),
    "too many headers": (
        "GET", "/v1/sites", {"headers": {f"x-{n}": "" for n in range(120)}}, 431, "RESOURCE_EXHAUSTED", "100 headers",
    ),
}  # fmt: skip


# What the server says, with the kinds of details that its answer must carry through Envoy.
FOUND_BY_SERVER = {
    "broken rules": (
        "POST", "/v1/sites", {"json": {"name": ""}}, 400, "INVALID_ARGUMENT",
        (error_details_pb2.BadRequest, error_details_pb2.ErrorInfo),
    ),
    "a misspelt field": (
        "POST", "/v1/sites", {"json": {"nmae": "A", "location": "B"}}, 400, "INVALID_ARGUMENT",
        (error_details_pb2.BadRequest, error_details_pb2.ErrorInfo),
    ),
    "a body of text/plain": (
        "POST", "/v1/sites", {"data": "{}", "headers": {"content-type": "text/plain"}}, 400, "INVALID_ARGUMENT",
        (error_details_pb2.BadRequest, error_details_pb2.ErrorInfo),
    ),
    "no body": (
        "POST", "/v1/sites", {}, 400, "INVALID_ARGUMENT",
        (error_details_pb2.BadRequest, error_details_pb2.ErrorInfo),
    ),
    "a negative page size": (
        "GET", "/v1/sites?page_size=-1", {}, 400, "INVALID_ARGUMENT",
        (error_details_pb2.BadRequest, error_details_pb2.ErrorInfo),
    ),
    "an unknown site": ("GET", "/v1/sites/987654", {}, 404, "NOT_FOUND", (error_details_pb2.ResourceInfo,)),
}  # fmt: skip


def test_envoy_refuses(rest):
    failures = []
    for name, (method, path, arguments, http_code, rpc_code, text) in FOUND_BY_ENVOY.items():
        headers = {**JSON, **arguments.get("headers", {})}
        try:
            response = rest.call(method, path, **{**arguments, "headers": headers})
            check(response, http_code, rpc_code, text)
            assert ("allow" in response.headers) == (http_code == 405)
        except AssertionError as error:
            failures.append(f"{name}: {error}")
    assert not failures, "\n".join(failures)


def test_server_refuses(rest):
    for name, (method, path, arguments, http_code, rpc_code, kinds) in FOUND_BY_SERVER.items():
        status = check(rest.call(method, path, **arguments), http_code, rpc_code)
        for kind in kinds:
            assert details(status, kind), name


def test_violations_arrive_whole(rest):
    status = check(
        rest.post("/v1/liveData", {"site_id": "1", "soc": 101, "load_kwh": -1}), 400, "INVALID_ARGUMENT"
    )
    violations = details(status, error_details_pb2.BadRequest).field_violations
    assert {violation.field: violation.reason for violation in violations} == {
        "live_data_entry.dt_stamp": "required",
        "live_data_entry.soc": "double.gte_lte",
        "live_data_entry.load_kwh": "double.gte",
        "live_data_entry.net_load_kwh": "required",
        "live_data_entry.pv_notification": "required",
        "live_data_entry.bio_notification": "required",
        "live_data_entry.cro_notification": "required",
    }


def test_stale_etag(rest):
    site = rest.post("/v1/sites", {"name": "Farm Novak", "location": "Brno"}).json()
    path = f"/v1/sites/{site['id']}"
    assert rest.patch(path, {"name": "Farm Novák", "etag": site["etag"]}).ok
    status = check(rest.patch(path, {"name": "Farm", "etag": site["etag"]}), 409, "ABORTED")
    assert details(status, error_details_pb2.ErrorInfo).reason


def test_request_id_used_for_another_request(rest):
    path = "/v1/sites?request_id=4a0c5f5e-7d1b-4d53-a7f5-9f1c0e6f2b11"
    assert rest.post(path, {"name": "A", "location": "B"}).ok
    status = check(rest.post(path, {"name": "C", "location": "B"}), 409, "ALREADY_EXISTS")
    assert details(status, error_details_pb2.ErrorInfo).reason


@pytest.mark.one_server("plain bytes, where the gateway speaks TLS")
def test_not_http_at_all(envoy):
    with socket.create_connection(("127.0.0.1", envoy.port), timeout=10) as connection:
        connection.sendall(b"G@T{ / HTTP/1.1\r\n\r\n")
        answer = b""
        while chunk := connection.recv(4096):
            answer += chunk
    head, body = answer.decode().split("\r\n\r\n", 1)
    assert head.startswith("HTTP/1.1 400 ") and "content-type: application/json" in head
    assert json_format.Parse(body, status_pb2.Status()).code == code_pb2.INVALID_ARGUMENT


def test_server_away_and_back(rest, front, service):
    service.kill()
    check(rest.get("/v1/sites"), 503, "UNAVAILABLE")
    check(rest.post("/v1/sites", {"name": "A", "location": "B"}), 503, "UNAVAILABLE")
    wait_until(lambda: front.answers(503), 30, "Envoy says that it has no server")
    check(rest.get("/healthz"), 503, "UNAVAILABLE")
    for answer in (rest.get("/v1/sites"), rest.post("/v1/sites", {"name": "A", "location": "B"})):
        status = check(answer, 503, "UNAVAILABLE", "no healthy upstream")
        assert details(status, error_details_pb2.RetryInfo).retry_delay.seconds == 1
        assert answer.headers["retry-after"] == "1"
    service.start()
    wait_until(lambda: front.answers(200), 30, "Envoy has its server again")
    assert rest.get("/v1/sites").ok


@pytest.mark.one_server("about an Envoy before nothing")
def test_never_a_server(start_envoy):
    envoy = start_envoy(*free_ports(1), ready=False)
    check(Rest(envoy.url).get("/v1/sites"), 503, "UNAVAILABLE")


def test_server_that_does_not_answer(start_front, service):
    hasty = start_front(call_timeout="0.5s")
    with standing_still(service):
        check(hasty.rest().get("/v1/sites"), 504, "DEADLINE_EXCEEDED")


@pytest.mark.one_server("plain bytes, where the gateway speaks TLS")
def test_body_that_does_not_come(start_envoy, server):
    envoy = start_envoy(server.port, stream_idle_timeout="0.5s")
    with socket.create_connection(("127.0.0.1", envoy.port), timeout=10) as connection:
        connection.sendall(
            b"POST /v1/sites HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
            b"content-length: 100\r\n\r\n{"
        )
        answer = b""
        while chunk := connection.recv(4096):
            answer += chunk
    head, body = answer.decode().split("\r\n\r\n", 1)
    assert head.startswith("HTTP/1.1 408 ")
    assert json_format.Parse(body, status_pb2.Status()).code == code_pb2.DEADLINE_EXCEEDED


@pytest.mark.parametrize("size", [LIMIT - 1, LIMIT])
def test_largest_body(rest, size):
    """Up to the limit the body reaches the server, which judges its fields."""
    status = check(rest.call("POST", "/v1/sites", data=b"{}".ljust(size)), 400, "INVALID_ARGUMENT")
    assert details(status, error_details_pb2.BadRequest)


@pytest.mark.one_server("gRPC through the local Envoy, as all goes through the gateway")
def test_grpc_through_envoy(envoy, server):
    """gRPC passes on the same port, and Envoy's own errors reach it as text, not as JSON."""
    client = Stubs(envoy.address)
    try:
        assert not client.sites.ListSites(sites_pb2.ListSitesRequest()).sites
        server.kill()
        wait_until(lambda: envoy.answers(503), 30, "Envoy says that it has no server")
        with pytest.raises(grpc.RpcError) as error:
            client.sites.ListSites(sites_pb2.ListSitesRequest())
        assert error.value.code() == grpc.StatusCode.UNAVAILABLE
        assert error.value.details() == "no healthy upstream"
        status = rpc_status.from_call(error.value)
        assert details(status, error_details_pb2.RetryInfo).retry_delay.seconds == 1
    finally:
        client.close()
