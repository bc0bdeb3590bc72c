"""Web pages of known origins call the production gateway: CORS, and gRPC-Web."""

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


def preflight(gateway, origin):
    return gateway.rest().call("OPTIONS", "/v1/sites/1", headers={
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
