"""WatchLiveData: each entry once, in one order for all, from now on or from behind a token."""

import base64
import json
import random
import struct
import threading
import zlib

import pytest
from energysites.v1 import live_data_pb2, sites_pb2
from google.rpc import error_details_pb2

from support.calls import (
    JUNE, at_once, create_entries, create_entry, create_site, entry, fail, stamp,
)  # fmt: skip
from support.metrics import total, value
from support.process import wait_until
from support.rest_errors import check, details
from support.watch import Watch, in_order, insert, make_month


def create_batch(stubs, site_ids, **changes):
    """An entry for each of `site_ids`, in one transaction."""
    return create_entries(stubs, [entry(site_id, **changes) for site_id in site_ids])


@pytest.fixture
def site_id(stubs):
    return create_site(stubs).id


def test_entries_come_as_stored(stubs, site_id):
    create_entry(stubs, site_id)  # Before the watch begins, and so none of it.
    watch = Watch(stubs)
    assert watch.tokens == 1 and not watch.entries
    stored = [
        create_entry(stubs, site_id, dt_stamp=stamp(JUNE, 123456000), soc=0.1 + 0.2, load_kwh=0),
        create_entry(stubs, site_id, dt_stamp=stamp(-62135596800), bio_notification=True),
        create_entry(stubs, site_id, dt_stamp=stamp(253402300799, 999999000), cro_notification=True),
    ]
    watch.wait(3)
    assert watch.entries == stored
    assert all(one.id and one.HasField("create_time") for one in watch.entries)


def test_an_unknown_site_is_not_watched(stubs, rest, site_id, database):
    """Regression: the stream began, and stayed silent."""
    deleted_id = create_site(stubs).id
    with database.connect() as connection:
        connection.execute(f"UPDATE sites SET delete_time = now() WHERE id = {deleted_id}")
    for site_ids, unknown in (
        ([987654321], 987654321),
        ([site_id, 987654321], 987654321),
        ([deleted_id], deleted_id),
        ([deleted_id, site_id], deleted_id),
    ):
        watch = Watch(stubs, site_ids)
        assert watch.failure is not None, site_ids
        assert (watch.failure.code, watch.tokens) == ("NOT_FOUND", 0)
        assert watch.failure.details["ResourceInfo"].resource_name == str(unknown)
        query = "&".join(f"site_ids={one}" for one in site_ids)
        with rest.get(f"/v1/liveData:watch?{query}", stream=True) as answer:
            status = check(answer, 404, "NOT_FOUND", str(unknown))
        assert details(status, error_details_pb2.ResourceInfo).resource_name == str(unknown)


def test_a_site_that_is_deleted_while_it_is_watched(stubs, site_id):
    """The watch goes on with the other sites, also after it was resumed."""
    deleted_id = create_site(stubs).id
    watch = Watch(stubs, [site_id, deleted_id])
    stubs.sites.DeleteSite(sites_pb2.DeleteSiteRequest(id=deleted_id))
    first = create_entry(stubs, site_id)
    assert watch.wait(1) == [first.id]
    resumed = Watch(stubs, [site_id, deleted_id], watch.token)
    second = create_entry(stubs, site_id)
    assert watch.wait(2) == [first.id, second.id]
    assert resumed.wait(1) == [second.id]


def test_the_order_is_the_same_for_all(stubs, site_id, database):
    """All entries have one dt_stamp, and come from many transactions at once."""
    other_id = create_site(stubs).id
    watches = [Watch(stubs) for _ in range(3)]
    rng = random.Random(4)

    def write():
        for _ in range(20):
            if rng.random() < 0.5:
                create_entry(stubs, site_id)
            else:
                create_batch(stubs, [site_id, other_id] * rng.randint(1, 20))

    at_once([write] * 6)
    expected = in_order(database)
    assert len(expected) > 120
    for watch in watches:
        assert watch.wait(len(expected)) == expected


def test_what_commits_late_comes_once_and_in_its_place(service, stubs, site_id, database):
    make_month(database)
    servers = service.instances("live_data")
    watches = [Watch(stubs), Watch(stubs, [site_id])]
    tokens = [watch.token for watch in watches]
    with database.connect() as late, database.connect() as later:
        late.execute("BEGIN")
        first = insert(late, site_id, 1)
        later.execute("BEGIN")
        second = insert(later, site_id, 2)
        after = [create_entry(stubs, site_id).id for _ in range(3)]
        assert first < second and max(after) < first
        wait_until(
            lambda: total(servers, "energy_sites_watch_delay_seconds") > 1, 20, "the delay is told"
        )
        assert total(servers, "energy_sites_watchers") == 2
        # Nothing is told that something else could still come before.
        assert not watches[0].entries and not watches[1].entries
        # Whoever comes meanwhile is told as well, for its order ends before.
        watches.append(Watch(stubs))
        late.execute("COMMIT")
        assert watches[0].wait(1) == [first]
        later.execute("ROLLBACK")
    assert in_order(database) == [first, *after]
    for watch in watches:
        assert watch.wait(4) == [first, *after]
    wait_until(lambda: total(servers, "energy_sites_watch_delay_seconds") == 0, 20, "no delay")
    # A resumption from before all that is told the same.
    for token, site_ids in zip(tokens, ([], [site_id]), strict=True):
        assert Watch(stubs, site_ids, token).wait(4) == [first, *after]


@pytest.mark.parametrize("role", ["app", "superuser"])
def test_the_delay_counts_from_the_begin_of_the_transaction(
    service, start_service, stubs, site_id, database, role
):
    """On a server that was started later, too. The server's role does not see when a transaction of
    another role began: then the first entry that is held back counts."""
    make_month(database)
    with database.connect(database.app_url if role == "app" else None) as late:
        late.execute("BEGIN")
        late.execute("SELECT pg_current_xact_id()")
        create_entry(stubs, site_id)
        age = "SELECT clock_timestamp() - now() > interval '5 seconds'"
        wait_until(lambda: late.execute(age).fetchone()[0], 20, "the transaction is old")
        other = start_service(database)
        Watch(other.stubs())
        servers = other.instances("live_data")
        delay = wait_until(
            lambda: total(servers, "energy_sites_watch_delay_seconds"), 20, "the delay is told"
        )
        assert 4 < delay < 60
        late.execute("COMMIT")
    wait_until(lambda: total(servers, "energy_sites_watch_delay_seconds") == 0, 20, "no delay")


def test_a_writer_that_tells_nobody_is_found(stubs, site_id, database):
    make_month(database)
    watch = Watch(stubs)
    with database.connect() as connection:
        for number in range(3):
            insert(connection, site_id, number)
            watch.wait(number + 1)
    assert watch.ids == in_order(database)


def test_notifications_wake_watchers_of_other_servers(start_service, stubs, site_id, database):
    """Twenty entries, one after the other, take less than twenty look-ups without notifications."""
    other = start_service(database).stubs()
    watch = Watch(other)
    with database.connect() as listener:
        listener.execute("LISTEN energy_sites_live_data")
        for count in range(1, 21):
            create_entry(stubs, site_id)
            watch.wait(count)
        notified = sum(1 for _ in listener.notifies(timeout=0.5))
    assert watch.ids == in_order(database)
    # It was notifications that told: each second without would have found one entry at most.
    assert notified > 10
    other.close()


def test_a_batch_of_ten_thousand_comes_whole(stubs, site_id, database):
    watches = [Watch(stubs), Watch(stubs, [site_id])]
    token = watches[0].token
    create_batch(stubs, [site_id] * 10_000)
    expected = in_order(database)
    for watch in [*watches, Watch(stubs, token=token)]:
        assert watch.wait(10_000) == expected


def test_sites_are_filtered(stubs, database):
    *site_ids, without_entries = [create_site(stubs).id for _ in range(7)]
    chosen = [[site_ids[0]], site_ids[:3], site_ids[3:], [without_entries]]
    watches = [Watch(stubs, one) for one in chosen]
    tokens = [watch.token for watch in watches]
    create_batch(stubs, site_ids * 10)
    create_entry(stubs, site_ids[5])
    create_batch(stubs, site_ids[:4] * 10)
    for watch, token, sites in zip(watches, tokens, chosen, strict=True):
        expected = in_order(database, sites)
        assert watch.wait(len(expected)) == expected
        # Sites are a set: order and repetition do not matter.
        again = Watch(stubs, [*reversed(sites), sites[0]], token)
        assert again.wait(len(expected)) == expected
    assert not watches[3].entries


def test_every_answer_can_be_resumed_from(stubs, site_id, database):
    """From each token of a stream the rest comes, and nothing of what came before."""
    request = live_data_pb2.WatchLiveDataRequest()
    call = stubs.live_data.WatchLiveData(request, timeout=60)
    seen = [(0, next(call).resume_token)]
    for count in (1, 3, 5):
        create_batch(stubs, [site_id] * count)
        told = seen[-1][0]
        while told < sum(c for c in (1, 3, 5) if c <= count):
            answer = next(call)
            told += len(answer.live_data_entries)
            seen.append((told, answer.resume_token))
    call.cancel()
    expected = in_order(database)
    for told, token in seen:
        watch = Watch(stubs, token=token)
        assert watch.wait(len(expected) - told) == expected[told:]
        last = create_entry(stubs, site_id)
        expected.append(last.id)
        assert watch.wait(len(expected) - told) == expected[told:]
        watch.cancel()


def with_xid(token, xid):
    """The token of a transaction that the database has not seen: its last backup was restored."""
    raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
    body = raw[:5] + struct.pack("<Q", xid) + raw[13:-4]
    return base64.urlsafe_b64encode(body + struct.pack("<I", zlib.crc32(body))).decode().rstrip("=")


def test_tokens_that_are_none_are_refused(stubs, site_id):
    def watch(site_ids, token):
        request = live_data_pb2.WatchLiveDataRequest(site_ids=site_ids, resume_token=token)
        method = stubs.live_data.WatchLiveData
        return fail(lambda request, timeout: list(method(request, timeout=timeout)), request)

    create_batch(stubs, [site_id] * 2)
    token = Watch(stubs, [site_id]).token
    page = stubs.live_data.ListLiveDataEntries(
        live_data_pb2.ListLiveDataEntriesRequest(page_size=1)
    ).next_page_token
    assert with_xid(token, 1) != token and page
    wrong = {
        "of other sites": ([site_id + 1], token),
        "of all sites": ([], token),
        "cut": ([site_id], token[:-1]),
        "longer": ([site_id], token + "A"),
        "changed": ([site_id], token[:8] + ("B" if token[8] == "A" else "A") + token[9:]),
        "of a page": ([], page),
        "no base64": ([], "last Tuesday"),
        "of the future": ([site_id], with_xid(token, 1 << 40)),
        "of the last transaction of all": ([site_id], with_xid(token, (1 << 64) - 1)),
    }
    for name, (site_ids, text) in wrong.items():
        failure = watch(site_ids, text)
        assert failure.code == "INVALID_ARGUMENT", name
        assert failure.violations == [("resume_token", "resume_token.valid")], name
    assert len(Watch(stubs, [site_id], with_xid(token, 1)).wait(2)) == 2
    assert watch([0], "").violations == [("site_ids[0]", "int64.gt")]


@pytest.mark.one_server("the limit is each process's own")
def test_more_watchers_than_allowed(start_server, database):
    server = start_server(database, flags=["--watch_limit=3"])
    stubs = server.stubs()
    watches = [Watch(stubs) for _ in range(3)]
    failure = Watch(stubs).failure
    assert (failure.code, failure.reason) == ("RESOURCE_EXHAUSTED", "QUEUE_FULL")
    assert failure.details["RetryInfo"].retry_delay.ToMilliseconds() > 0
    watches[0].cancel()
    wait_until(lambda: Watch(stubs).failure is None, 10, "a place is free again")
    assert value(server, "energy_sites_watchers") == 3
    stubs.close()


def test_over_rest_each_line_is_an_answer(rest, stubs, site_id):
    lines = []
    begun = threading.Event()

    def read(path):
        with rest.get(path, stream=True) as answer:
            assert answer.status_code == 200
            for line in answer.iter_lines():
                lines.append(json.loads(line))
                begun.set()
                if sum(len(one["live_data_entries"]) for one in lines) >= 3:
                    return

    path = f"/v1/liveData:watch?site_ids={site_id}"
    reader = threading.Thread(target=read, args=(path,), daemon=True)
    reader.start()
    assert begun.wait(30)
    stored = [create_entry(stubs, site_id, pv_notification=False) for _ in range(3)]
    reader.join(30)
    assert not reader.is_alive()
    told = [one for line in lines for one in line["live_data_entries"]]
    assert [one["id"] for one in told] == [str(one.id) for one in stored]
    assert told[0]["pv_notification"] is False and told[0]["create_time"]
    first = lines[0]["resume_token"]
    assert first and all(line["resume_token"] for line in lines)
    lines.clear()
    read(f"{path}&resume_token={first}")
    assert [one for line in lines for one in line["live_data_entries"]] == told
    answer = rest.get("/v1/liveData:watch?resume_token=x")
    assert answer.status_code == 400
    assert answer.json()["details"]
