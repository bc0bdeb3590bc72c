"""The production gateway asks the service about the body of each REST write, and obeys."""

import contextlib
import threading

import pytest
from energysites.v1 import sites_pb2

from support.gateway import ALLOWED, Echo
from support.rest_errors import check

DENIAL = '{"code": 3, "message": "site.nmae: is no field", "details": []}'


def field(number, data):
    """A field of bytes on the wire, of less than 16 KiB."""
    size = len(data)
    length = bytes([size]) if size < 128 else bytes([size & 127 | 128, size >> 7])
    return bytes([number << 3 | 2]) + length + data


# Of envoy.service.auth.v3.CheckResponse: a status that is not OK, and the HTTP answer instead.
REFUSED = field(1, b"\x08\x03") + field(2, field(1, b"\x08\x90\x03") + field(3, DENIAL.encode()))


class Checker:
    """Refuses bodies with the misspelt word. Keeps what it was asked."""

    def __init__(self):
        self.asked = []
        self.fails = False

    def __call__(self, request):
        self.asked.append(request)
        if self.fails:
            raise RuntimeError("planted")
        return REFUSED if b"nmae" in request else ALLOWED


@pytest.fixture
def checkers():
    return {name: Checker() for name in ("sites", "configurations", "live_data")}


@pytest.fixture
def gateway(start_gateway, certificates, checkers):
    with contextlib.ExitStack() as stack:
        echoes = {name: Echo(certificates, checker) for name, checker in checkers.items()}
        for echo in echoes.values():
            stack.callback(echo.stop)
        gateway = start_gateway(
            {name: [echo.port] for name, echo in echoes.items()}, unknown_fields_check=True
        )
        gateway.echoes = echoes
        yield gateway


# Every REST path that writes, and whose instances are asked about it.
WRITES = [
    ("POST", "/v1/sites", "sites"),
    ("PATCH", "/v1/sites/1", "sites"),
    ("POST", "/v1/sites/1/configurations", "configurations"),
    ("POST", "/v1/configurations?validate_only=true", "configurations"),
    ("PATCH", "/v1/sites/1/configurations/2", "configurations"),
    ("POST", "/v1/sites/1/liveData", "live_data"),
    ("POST", "/v1/liveData", "live_data"),
    ("POST", "/v1/liveData:batchCreate", "live_data"),
    ("DELETE", "/v1/sites/1?etag=1", "sites"),
    ("DELETE", "/v1/sites/1/configurations/2?validate_only=true", "configurations"),
    ("DELETE", "/v1/sites/1/liveData/2", "live_data"),
]


def test_writes_over_rest(gateway, checkers, issuer):
    rest = gateway.rest(issuer.token())
    for verb, path, service in WRITES:
        refused = rest.call(verb, path, json={"nmae": "A"})
        assert (refused.status_code, refused.text) == (400, DENIAL), path
        check(refused, 400, "INVALID_ARGUMENT", "site.nmae")
        assert gateway.echoes[service].calls == []
        # What it is asked about: the path with its query, and the body.
        assert path.encode() in checkers[service].asked[0]
        assert rest.call(verb, path, json=None if verb == "DELETE" else {}).ok, path
        assert len(gateway.echoes[service].calls) == 1
        assert {name: len(checker.asked) for name, checker in checkers.items()} == {
            **dict.fromkeys(checkers, 0), service: 2,
        }, path  # fmt: skip
        checkers[service].asked.clear()
        gateway.echoes[service].calls.clear()


def open_until(over):
    yield b""
    over.wait(30)


def test_nothing_else_is_asked_about(gateway, checkers, issuer):
    rest, stubs = gateway.rest(issuer.token()), gateway.stubs(issuer.token())
    assert rest.get("/v1/sites").ok
    stubs.sites.CreateSite(sites_pb2.CreateSiteRequest(site={"name": "nmae"}))
    # A stream gets its first answer before the client is done.
    over = threading.Event()
    ingest = stubs.channel.stream_stream("/energysites.v1.LiveData/IngestLiveData")
    assert next(ingest(open_until(over), timeout=30)) == b""
    over.set()
    stubs.close()
    assert [checker.asked for checker in checkers.values()] == [[], [], []]


def test_without_an_answer_nothing_goes_on(gateway, checkers, issuer):
    checkers["sites"].fails = True
    rest = gateway.rest(issuer.token())
    check(rest.post("/v1/sites", {}), 503, "UNAVAILABLE")
    check(rest.delete("/v1/sites/1"), 503, "UNAVAILABLE")
    assert checkers["sites"].asked and gateway.echoes["sites"].calls == []
    assert rest.get("/v1/sites").ok


def test_a_path_in_other_letters_is_asked_about_too(gateway, checkers, issuer):
    """Whatever the transcoder may take for a write."""
    rest = gateway.rest(issuer.token())
    for path in ("/v1/sites/", "//v1//sites", "/v1/./sites", "/v1/site%73"):
        answer = rest.post(path, {"nmae": "A"})
        assert answer.status_code in (400, 404), path
    assert gateway.echoes["sites"].calls == []
