"""The way to the database cut, reset, refused and swallowed."""

import time

import pytest
from energysites.v1 import configurations_pb2, live_data_pb2, sites_pb2
from history import check
from load import Load
from moments import is_serving, last, seconds_until

from support.calls import configuration, create_site, entry, fail, new_uuid, outcome, site
from support.process import wait_until

# As libpq sends it.
COMMIT = b"Q\0\0\0\x0bCOMMIT\0"


def writes(stubs, site_id, number):
    """A write of each kind that takes a request_id, with content of its own."""
    entries = [entry(site_id, load_kwh=10 * number + i) for i in range(3)]
    return [
        (stubs.sites.CreateSite, sites_pb2.CreateSiteRequest(
            site=site(name=f"Site {number}"), request_id=new_uuid())),
        (stubs.configurations.CreateConfiguration, configurations_pb2.CreateConfigurationRequest(
            configuration=configuration(site_id, battery_capacity_kwh=number),
            request_id=new_uuid())),
        (stubs.live_data.CreateLiveDataEntry, live_data_pb2.CreateLiveDataEntryRequest(
            live_data_entry=entries[0], request_id=new_uuid())),
        (stubs.live_data.BatchCreateLiveDataEntries,
         live_data_pb2.BatchCreateLiveDataEntriesRequest(
            entries=entries[1:], request_id=new_uuid())),
    ]  # fmt: skip


def create_time(answer):
    stored = answer.live_data_entries[0] if hasattr(answer, "live_data_entries") else answer
    return stored.create_time.ToMicroseconds() / 1e6


def answered(method, request):
    """Repeats the call until it is answered."""
    got = []

    def try_again():
        got.append(outcome(method, request, timeout=10))
        return not hasattr(got[-1], "code")

    wait_until(try_again, 30, "the call is answered")
    return got[-1]


def test_the_network_is_cut_at_commit(proxied_stubs, database, proxy, report, rounds):
    """Right behind COMMIT or right before it; the retry finds which, and is stored once."""
    site_id = create_site(proxied_stubs, name="first").id
    # Half of them right behind it.
    numbers = range(1, rounds(16, 400) // 4 + 1)
    committed = 0
    for number in numbers:
        for method, request in writes(proxied_stubs, site_id, number):
            forward = number % 2 == 0
            proxy.trap(request.request_id.encode(), COMMIT, forward)
            failure = fail(method, request)
            cut_at = proxy.trapped_at
            assert failure.code == "UNAVAILABLE", failure
            answer = answered(method, request)
            assert (create_time(answer) < cut_at) == forward, "not what the cut left behind"
            committed += forward
            assert method(request, timeout=10) == answer
    report.note("writes cut right behind COMMIT", committed)
    report.note("writes cut right before COMMIT", 4 * len(numbers) - committed)
    for query, times in (
        ("SELECT count(*), count(DISTINCT name) FROM sites WHERE name <> 'first'", 1),
        ("SELECT count(*), count(DISTINCT battery_capacity_kwh) FROM configurations", 1),
        ("SELECT count(*), count(DISTINCT load_kwh) FROM live_data", 3),
    ):
        assert database.query(query) == [(times * len(numbers),) * 2], query


def test_connections_are_reset(proxied_server, proxied_stubs, database, proxy, report, rounds):
    resets = rounds(15, 200)
    sites = [create_site(proxied_stubs).id for _ in range(3)]
    with Load(proxied_server.address, sites) as load:
        for number in range(resets):
            # Anywhere in what is on its way.
            behind = proxy.forwarded + 1 + 7_777 * (number % 5)
            wait_until(lambda behind=behind: proxy.forwarded > behind, 30, "writes go on")
            proxy.cut(reset=True)
        load.wait_acknowledged(20)
    report.outcomes(check(load.history, database))
    assert any(call.failures for call in load.history)


class Away:
    """The database away in one of two ways, for as long as `with` lasts."""

    def __init__(self, proxy, way):
        self._proxy = proxy
        self._way = way

    def __enter__(self):
        if self._way == "swallowed":
            self._proxy.stall()
        else:
            self._proxy.refuse()
            self._proxy.cut()

    def __exit__(self, *_):
        self._proxy.go_on() if self._way == "swallowed" else self._proxy.accept()


@pytest.mark.parametrize("way", ["refused", "swallowed"])
def test_the_database_is_unreachable(
    proxied_server, proxied_stubs, database, proxy, report, rounds, way
):
    """Each call ends by its deadline of 2 s, health tells, and all goes on afterwards."""
    seconds, deadline = rounds(6, 30), 2
    sites = [create_site(proxied_stubs).id for _ in range(3)]
    with Load(proxied_server.address, sites, timeout=deadline) as load:
        load.wait_acknowledged(20)
        away_at = time.monotonic()
        with Away(proxy, way):
            noticed = seconds_until(lambda: not is_serving(proxied_stubs), "health tells")
            last(away_at + seconds - time.monotonic())
        back = seconds_until(lambda: is_serving(proxied_stubs), "health says SERVING again")
        load.wait_acknowledged(20)
    report.outcomes(check(load.history, database))
    report.at_most("health says NOT_SERVING", noticed, 10, "s")
    report.at_most("SERVING again", back, 5, "s")
    tries = [failure for call in load.history for failure in call.failures]
    assert {one.code for one in tries} <= {"UNAVAILABLE", "DEADLINE_EXCEEDED", "ABORTED"}
    once = [call.ended - call.began for call in load.history if len(call.codes) == 1]
    report.at_most("a call with a deadline of 2 s, longest", max(once), deadline + 0.25, "s")


def test_a_call_without_deadline_ends_while_the_database_swallows_it(
    proxied_stubs, proxy, report
):
    """Else it would wait, and hold its connection, for as long as the other side is silent."""
    create_site(proxied_stubs)
    with Away(proxy, "swallowed"):
        start = time.monotonic()
        calls = [
            proxied_stubs.sites.ListSites.future(sites_pb2.ListSitesRequest()) for _ in range(20)
        ]
        codes = {call.exception(timeout=60).code().name for call in calls}
        report.at_most("all calls without a deadline ended", time.monotonic() - start, 20, "s")
    # Those that wait for a connection, and those whose connection was abandoned: a write of these
    # could still take effect.
    assert codes == {"UNAVAILABLE", "DEADLINE_EXCEEDED"}
