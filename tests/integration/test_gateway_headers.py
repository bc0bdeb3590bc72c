"""What the headers of one caller may not do to the others, with whom it shares a connection."""

import contextlib
import functools
import itertools

import pytest
from attacks.http2 import Cut
from energysites.v1 import sites_pb2

from support.calls import create_entry, create_site, outcome
from support.raw_grpc import RawCaller
from support.rest_errors import check
from support.watch import Watch

LIST_SITES = "/energysites.v1.Sites/ListSites"
KIB = 1024
NOT_BASE64 = ("x-foo-bin", "!!!")


@pytest.fixture
def watched(front):
    """Fails where what the test does ends the watch of another caller."""
    stubs = front.stubs()
    site_id = create_site(stubs).id
    watch = Watch(stubs, [site_id])
    yield
    stored = create_entry(stubs, site_id)
    assert watch.wait(1) == [stored.id]
    watch.cancel()
    stubs.close()


@pytest.mark.usefixtures("watched")
def test_a_binary_header_that_is_not_base64(front, rest):
    """Regression: the server dropped the connection, and all calls on it."""
    assert rest.get("/v1/sites", headers=dict([NOT_BASE64])).ok
    with contextlib.closing(RawCaller(front)) as caller:
        for place in ("headers", "trailers"):
            answer = caller.call(LIST_SITES, sites_pb2.ListSitesRequest(), **{place: [NOT_BASE64]})
            assert answer["grpc-status"] == "0", (place, answer)


def test_a_path_with_as_many_ids_as_there_may_be(rest):
    """Regression: the server took 16 KiB of headers, and the path is one."""
    ids = [str(100_000_000 + n) for n in range(1000)]
    answer = rest.get("/v1/liveData:latest", params={"site_ids": ids})
    assert answer.ok, answer.text
    assert answer.json()["missing_site_ids"] == ids


@pytest.mark.usefixtures("watched")
@pytest.mark.parametrize("count", [1, 80])
def test_headers_are_served_or_refused(front, rest, count):
    """Regression: what Envoy let through and the server did not ended the calls of all others.

    Over HTTP/2, which has no 431 here, the one stream is reset.
    """
    stubs = front.stubs()
    codes, over_grpc = [], []
    for size in range(44 * KIB, 50 * KIB, 256):
        headers = {f"x-long-{n}": "x" * (size // count) for n in range(count)}
        answer = rest.get("/v1/sites", headers=headers)
        codes.append(answer.status_code)
        if codes[-1] != 200:
            check(answer, 431, "RESOURCE_EXHAUSTED")
        list_sites = functools.partial(stubs.sites.ListSites, metadata=tuple(headers.items()))
        over_grpc.append(getattr(outcome(list_sites, sites_pb2.ListSitesRequest()), "code", "OK"))
    stubs.close()
    for found, expected in ((codes, [200, 431]), (over_grpc, ["OK", "INTERNAL"])):
        assert [code for code, _ in itertools.groupby(found)] == expected


@pytest.mark.usefixtures("watched")
def test_too_many_headers(rest):
    headers = {f"x-{n}": "1" for n in range(100)}
    check(rest.get("/v1/sites", headers=headers), 431, "RESOURCE_EXHAUSTED")


def test_names_with_underscores(front, rest):
    """Some readers take x_a for x-a: a header that no client can set would be set by its twin."""
    check(rest.get("/v1/sites", headers={"x_a": "1"}), 400, "INVALID_ARGUMENT")
    with contextlib.closing(RawCaller(front)) as caller, pytest.raises(Cut):
        caller.call(LIST_SITES, sites_pb2.ListSitesRequest(), headers=[("x_a", "1")])


@pytest.mark.parametrize("first", [1, 10**18])
def test_a_token_of_many_sites(gateway, issuer, first):
    rest = gateway.rest(issuer.token(site_ids=[str(first + n) for n in range(1500)]))
    check(rest.get(f"/v1/sites/{first + 1499}"), 404, "NOT_FOUND")
    check(rest.get(f"/v1/sites/{first + 1500}"), 403, "PERMISSION_DENIED")
