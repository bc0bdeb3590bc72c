"""Web pages call the gateways: CORS, for configured origins or for localhost, and gRPC-Web."""

import struct

import pytest
from energysites.v1 import sites_pb2

from support.calls import site
from support.rest_errors import check

CONSOLE = "https://console.example"
CREATE = "/energysites.v1.Sites/CreateSite"


@pytest.fixture
def gateway(start_gateway, guarded_server):
    return start_gateway([guarded_server.port], cors_origins=[CONSOLE])


def preflight(gateway, origin, path="/v1/sites/1"):
    return gateway.rest().call("OPTIONS", path, headers={
        "origin": origin, "access-control-request-method": "PATCH",
        "access-control-request-headers": "authorization,content-type",
    })  # fmt: skip


def test_cors(gateway, issuer):
    answer = preflight(gateway, CONSOLE)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == CONSOLE
    assert "PATCH" in answer.headers["access-control-allow-methods"]
    assert "authorization" in answer.headers["access-control-allow-headers"]
    check(preflight(gateway, "https://console.example.evil"), 401, "UNAUTHENTICATED")
    # Of an answer, of a refusal too, the page may see all that it needs.
    for token, status in ((issuer.token(), 200), (None, 401)):
        answer = gateway.rest(token).get("/v1/sites", headers={"origin": CONSOLE})
        assert answer.status_code == status
        assert answer.headers["access-control-allow-origin"] == CONSOLE
        assert "grpc-status" in answer.headers["access-control-expose-headers"]
    other = gateway.rest(issuer.token()).get("/v1/sites", headers={"origin": "https://x.example"})
    assert "access-control-allow-origin" not in other.headers


LOCAL = pytest.mark.one_server("about the local Envoy, which takes no tokens")
LOCAL_ORIGINS = [
    f"{scheme}://{host}{port}"
    for scheme in ("http", "https")
    for host in ("localhost", "127.0.0.1", "[::1]")
    for port in ("", ":3000", ":65535")
]
OTHER_ORIGINS = [
    "http://localhost.evil.com",
    "http://localhost:3000.evil.com",
    "http://localhost:evil.com",
    "http://localhost:3000@evil.com",
    "http://localhost:",
    "http://evil.com:3000",
    "http://evil.com/http://localhost:3000",
    "http://evillocalhost:3000",
    "http://127.0.0.1.evil.com",
    "http://127a0.0.1:3000",
    "http://127.0a0.1:3000",
    "http://127.0.0a1:3000",
    "http://127.0.0.11:3000",
    "http://[::1].evil.com",
    "http://[::11]:3000",
    "http://:::1:3000",
    "ftp://localhost:3000",
    "localhost:3000",
    "https://console.example",
    "null",
    "*",
]


def cors_headers(answer):
    return {name for name in answer.headers if name.lower().startswith("access-control-")}


@LOCAL
def test_local_gateway_allows_pages_of_localhost(envoy):
    for origin in LOCAL_ORIGINS:
        answer = preflight(envoy, origin)
        assert answer.status_code == 200, origin
        assert answer.headers.get("access-control-allow-origin") == origin
        assert "PATCH" in answer.headers["access-control-allow-methods"]
        assert "content-type" in answer.headers["access-control-allow-headers"]
        answer = envoy.rest().get("/v1/sites", headers={"origin": origin})
        assert (answer.status_code, answer.json()["sites"]) == (200, [])
        assert answer.headers["access-control-allow-origin"] == origin


@LOCAL
def test_local_gateway_allows_no_other_pages(envoy):
    for origin in OTHER_ORIGINS:
        for answer in (
            preflight(envoy, origin),
            envoy.rest().get("/v1/sites", headers={"origin": origin}),
            envoy.rest().get("/v1/sites/1", headers={"origin": origin}),
        ):
            assert cors_headers(answer) == set(), origin


@LOCAL
def test_pages_can_read_errors_of_the_local_gateway(envoy, server):
    origin = {"origin": "http://localhost:3000"}
    rest = envoy.rest()

    def check_readable(answer, status, code):
        check(answer, status, code)
        assert answer.headers["access-control-allow-origin"] == origin["origin"], answer.text
        assert "retry-after" in answer.headers["access-control-expose-headers"]

    # Of the service, of the check of bodies, and of Envoy itself.
    check_readable(rest.post("/v1/sites", {}, headers=origin), 400, "INVALID_ARGUMENT")
    check_readable(rest.post("/v1/sites", {"nane": "x"}, headers=origin), 400, "INVALID_ARGUMENT")
    check_readable(rest.get("/v1/sites?pages=1", headers=origin), 400, "INVALID_ARGUMENT")
    check_readable(rest.get("/v1/sites/1", headers=origin), 404, "NOT_FOUND")
    check_readable(rest.get("/v1/nothing", headers=origin), 404, "NOT_FOUND")
    check_readable(rest.delete("/v1/sites", headers=origin), 405, "UNIMPLEMENTED")
    large = rest.call("POST", "/v1/sites", data=b" " * 5_000_000, headers=origin)
    check_readable(large, 413, "RESOURCE_EXHAUSTED")
    server.stop()
    check_readable(rest.get("/v1/sites", headers=origin), 503, "UNAVAILABLE")


def test_configured_origins_replace_localhost(gateway, start_envoy, guarded_server):
    """With tokens, localhost is an origin like any other; without, the setting counts as well."""
    assert cors_headers(preflight(gateway, "http://localhost:3000")) == set()
    local = start_envoy(guarded_server.port, ready=False, cors_origins=[CONSOLE])
    assert preflight(local, CONSOLE).headers["access-control-allow-origin"] == CONSOLE
    assert cors_headers(preflight(local, "http://localhost:3000")) == set()


def framed(message):
    data = message.SerializeToString()
    return struct.pack(">BI", 0, len(data)) + data


def frames(body):
    """Pairs of flags and data."""
    while body:
        flags, size = struct.unpack(">BI", body[:5])
        yield flags, body[5 : 5 + size]
        body = body[5 + size :]


def grpc_web(rest, path, request):
    return rest.call("POST", path, data=framed(request), headers={
        "content-type": "application/grpc-web+proto", "x-grpc-web": "1", "origin": CONSOLE,
    })  # fmt: skip


def test_grpc_web(gateway, issuer):
    rest = gateway.rest(issuer.token())
    answer = grpc_web(rest, CREATE, sites_pb2.CreateSiteRequest(site=site()))
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/grpc-web+proto"
    (data_flag, data), (trailer_flag, trailers) = frames(answer.content)
    assert (data_flag, trailer_flag) == (0, 0x80) and b"grpc-status:0\r\n" in trailers
    assert sites_pb2.Site.FromString(data).name == site().name
    broken = grpc_web(rest, CREATE, sites_pb2.CreateSiteRequest())
    assert broken.headers["grpc-status"] == "3" and "must be set" in broken.headers["grpc-message"]


def test_grpc_web_without_what_it_takes(gateway, issuer):
    request = sites_pb2.CreateSiteRequest(site=site())
    refused = grpc_web(gateway.rest(), CREATE, request)
    assert refused.headers["grpc-status"] == "16"
    reader = gateway.rest(issuer.token(scopes=["sites.read"]))
    refused = grpc_web(reader, CREATE, request)
    assert refused.headers["grpc-status"] == "7"
