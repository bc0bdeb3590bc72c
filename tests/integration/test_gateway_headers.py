"""What the headers of one caller may not do to the others, with whom it shares a connection."""

import contextlib

import pytest
from energysites.v1 import live_data_pb2, sites_pb2

from support.calls import create_site, entry
from support.raw_grpc import RawCaller
from support.watch import Watch

LIST_SITES = "/energysites.v1.Sites/ListSites"
NOT_BASE64 = ("x-foo-bin", "!!!")


@pytest.fixture
def watched(front):
    """Fails where what the test does ends the watch of another caller."""
    stubs = front.stubs()
    site_id = create_site(stubs).id
    watch = Watch(stubs, [site_id])
    yield
    request = live_data_pb2.CreateLiveDataEntryRequest(live_data_entry=entry(site_id))
    stored = stubs.live_data.CreateLiveDataEntry(request, timeout=30)
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
