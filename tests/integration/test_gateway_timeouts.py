"""How long a call may take that is no stream, and what its caller is told then."""

import contextlib

import pytest
from energysites.v1 import sites_pb2

from support.calls import create_entry, create_site, fail
from support.raw_grpc import RawCaller
from support.server import standing_still
from support.watch import Watch

LIST = sites_pb2.ListSitesRequest()


@pytest.fixture
def hasty_front(start_front):
    return start_front(call_timeout="0.5s")


@pytest.fixture
def watched(hasty_front):
    """Fails where a timeout of calls ends a watch, over gRPC or REST."""
    stubs, rest = hasty_front.stubs(), hasty_front.rest()
    site_id = create_site(stubs).id
    watch = Watch(stubs, [site_id])
    with rest.get(f"/v1/liveData:watch?site_ids={site_id}", stream=True) as over_rest:
        lines = over_rest.iter_lines(chunk_size=1)
        next(lines)
        yield
        stored = create_entry(stubs, site_id)
        assert watch.wait(1) == [stored.id]
        assert str(stored.id) in next(lines).decode()
    watch.cancel()
    stubs.close()


@pytest.mark.usefixtures("watched")
@pytest.mark.parametrize("deadline", [None, 60])
def test_a_server_that_is_too_slow(hasty_front, service, deadline):
    """Regression: it was UNAVAILABLE."""
    stubs = hasty_front.stubs()
    with standing_still(service):
        failure = fail(stubs.sites.ListSites, LIST, timeout=deadline)
    assert (failure.code, failure.text) == ("DEADLINE_EXCEEDED", "upstream request timeout")
    stubs.close()


@pytest.mark.usefixtures("watched")
@pytest.mark.parametrize(
    "rpc", ["Sites/CreateSite", "LiveData/WatchLiveData", "LiveData/IngestLiveData"]
)
def test_a_request_that_never_ends(hasty_front, rpc):
    """Regression: each byte of it put the end off, and Envoy held the rest for as long."""
    with contextlib.closing(RawCaller(hasty_front)) as caller:
        answer = caller.never_end(f"/energysites.v1.{rpc}")
    assert (answer["grpc-status"], answer["grpc-message"]) == ("4", "request timeout")
