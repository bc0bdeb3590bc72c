"""The production gateway asks every call for a token, and every token for the scope of the rpc."""

import contextlib
import functools
import http.server
import re
import socket
import ssl
import sys
import threading

import grpc
import pytest
import requests
from energysites.v1 import sites_pb2

from support.calls import create_site, fail
from support.process import BUILD, ROOT
from support.rest_errors import check
from support.stubs import Stubs
from support.tokens import AUDIENCE, ISSUER, SCOPES

sys.path.insert(0, str(ROOT / "proto"))
from contract import Contract  # noqa: E402  (it stands beside the .proto files)

LIST = sites_pb2.ListSitesRequest()


def test_tls_only(gateway, issuer):
    with pytest.raises(requests.ConnectionError):
        requests.get(f"http://{gateway.address}/v1/sites", timeout=10)
    with pytest.raises(requests.exceptions.SSLError):
        requests.get(f"{gateway.url}/v1/sites", timeout=10)
    plain = Stubs(gateway.address)
    assert fail(plain.sites.ListSites, LIST).code == "UNAVAILABLE"
    plain.close()


@pytest.mark.parametrize("protocol", ["h2", "http/1.1"])
def test_both_versions_of_http(gateway, protocol):
    context = ssl.create_default_context(cafile=gateway.ca)
    context.set_alpn_protocols([protocol])
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=10) as connection:
        with context.wrap_socket(connection, server_hostname="127.0.0.1") as secure:
            assert secure.selected_alpn_protocol() == protocol


def test_a_good_token(gateway, issuer):
    rest, stubs = gateway.rest(issuer.token()), gateway.stubs(issuer.token())
    created = create_site(stubs)
    answer = rest.get(f"/v1/sites/{created.id}")
    assert answer.json()["name"] == created.name
    assert answer.headers["x-request-id"] and answer.headers["server"] == "energy-sites"
    # As long as headers may be; none of it goes on to the service.
    long = issuer.token(padding="x" * 12000)
    assert len(long) > 16000 and gateway.rest(long).get("/v1/sites").ok
    stubs.close()


def test_bad_tokens(gateway, issuer):
    anonymous = gateway.stubs()
    failures = []
    for name, token in issuer.bad_tokens().items():
        try:
            check(gateway.rest(token).get("/v1/sites"), 401, "UNAUTHENTICATED")
            check(gateway.rest(token).post("/v1/sites", {}), 401, "UNAUTHENTICATED")
            with pytest.raises(grpc.RpcError) as error:
                metadata = [("authorization", f"Bearer {token}")]
                anonymous.sites.ListSites(LIST, metadata=metadata, timeout=30)
            assert error.value.code() == grpc.StatusCode.UNAUTHENTICATED, error.value
        except AssertionError as error:
            failures.append(f"{name}: {error}")
    anonymous.close()
    assert not failures, "\n".join(failures)


def test_where_a_token_does_not_count(gateway, issuer):
    token = issuer.token()
    check(gateway.rest().get("/v1/sites"), 401, "UNAUTHENTICATED")
    check(gateway.rest().get(f"/v1/sites?access_token={token}"), 401, "UNAUTHENTICATED")
    check(gateway.rest(authorization=f"Basic {token}").get("/v1/sites"), 401, "UNAUTHENTICATED")
    check(gateway.rest(authorization=token).get("/v1/sites"), 401, "UNAUTHENTICATED")
    # Two of them: which one would it be?
    twice = [("authorization", f"Bearer {token}")] * 2
    anonymous = gateway.stubs()
    with pytest.raises(grpc.RpcError) as error:
        anonymous.sites.ListSites(LIST, metadata=twice, timeout=30)
    assert error.value.code() == grpc.StatusCode.UNAUTHENTICATED
    anonymous.close()
    # Only how the gateway feels is for everybody.
    assert gateway.rest().get("/healthz").text == "ok\n"
    check(gateway.rest().get("/v1/farms"), 401, "UNAUTHENTICATED")
    check(gateway.rest(token).get("/v1/farms"), 404, "NOT_FOUND")


@pytest.fixture
def jwks_url(issuer):
    """A server that has the issuer's folder."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=issuer.jwks.parent)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/{issuer.jwks.name}"
    server.shutdown()
    server.server_close()


def test_keys_by_url(start_gateway, echo, issuer, jwks_url):
    jwt = {"issuer": ISSUER, "audience": AUDIENCE, "jwks_url": jwks_url}
    gateway = start_gateway([echo.port], jwt=jwt)
    assert gateway.rest(issuer.token()).get("/v1/sites").ok
    bad = issuer.bad_tokens()["another key under the known name"]
    check(gateway.rest(bad).get("/v1/sites"), 401, "UNAUTHENTICATED")


def needed_scope(service, method):
    """Reads have names that begin like this."""
    area = "livedata" if service == "LiveData" else "sites"
    reads = method.startswith(("Get", "List", "Export", "Download", "Watch", "Aggregate"))
    return f"{area}.{'read' if reads else 'write'}"


class Client:
    """Calls with one token, and what the echo saw of them."""

    def __init__(self, gateway, echo, token):
        self.stubs, self._rest, self._echo = gateway.stubs(token), gateway.rest(token), echo

    def grpc(self, path):
        """The code, and the paths that reached the service."""
        self._echo.calls.clear()
        call = self.stubs.channel.stream_stream(path)(iter([b""]), timeout=30)
        with contextlib.suppress(grpc.RpcError):
            list(call)
        return call.code().name, [one for one, _ in self._echo.calls]

    def rest(self, binding):
        """The same of a REST call."""
        self._echo.calls.clear()
        answer = self._rest.call(
            binding.verb.upper(), re.sub(r"\{[^}]*\}", "1", binding.path),
            **({"json": {}} if binding.body else {}),
        )  # fmt: skip
        if answer.status_code == 403:
            check(answer, 403, "PERMISSION_DENIED")
        code = {200: "OK", 403: "PERMISSION_DENIED"}.get(answer.status_code, answer.text)
        return code, [one for one, _ in self._echo.calls]


def test_each_scope_allows_its_rpcs_only(start_gateway, echo, issuer):
    """Over gRPC and by every REST path: with each scope alone, and with all others."""
    gateway = start_gateway([echo.port])
    alone = {scope: Client(gateway, echo, issuer.token(scopes=[scope])) for scope in SCOPES}
    others = {scope: Client(gateway, echo, issuer.token(scopes=set(SCOPES) - {scope}))
              for scope in SCOPES}  # fmt: skip
    contract = Contract((BUILD / "energy_sites.pb").read_bytes())
    failures = []
    for service, method in contract.methods():
        path = f"/energysites.v1.{service.name}/{method.name}"
        needed = needed_scope(service.name, method.name)
        clients = [(client, scope == needed) for scope, client in alone.items()]
        for client, allowed in [*clients, (others[needed], False)]:
            wanted = ("OK", [path]) if allowed else ("PERMISSION_DENIED", [])
            outcomes = [client.grpc(path), *map(client.rest, contract.bindings(method))]
            failures += [(path, wanted, one) for one in outcomes if one != wanted]
    for client in (*alone.values(), *others.values()):
        client.stubs.close()
    assert failures == []


def test_what_is_no_rpc_of_ours_needs_more_than_a_token(gateway, issuer):
    """Reflection and health tell of the service; a path in other letters is another path."""
    stubs = gateway.stubs(issuer.token())
    for path in ("/grpc.health.v1.Health/Check", "/energysites.v1.sites/ListSites",
                 "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
                 "/energysites.v1.Sites/ListSites/"):  # fmt: skip
        with pytest.raises(grpc.RpcError) as error:
            stubs.channel.unary_unary(path)(b"", timeout=30)
        assert error.value.code() == grpc.StatusCode.PERMISSION_DENIED, path
    stubs.close()
    for scope in ("", "sites.reader", "xsites.read", "sites.read,livedata.read", "SITES.READ"):
        check(gateway.rest(issuer.token(scope=scope)).get("/v1/sites"), 403, "PERMISSION_DENIED")
    check(gateway.rest(issuer.token(scope=...)).get("/v1/sites"), 403, "PERMISSION_DENIED")
