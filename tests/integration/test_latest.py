"""The newest entry of each of many sites."""

from energysites.v1 import live_data_pb2, sites_pb2

from support.calls import JUNE, create_entries, create_site, entry, fail, stamp

# The first and the last second of all calendars.
YEAR_1, YEAR_9999 = -62135596800, 253402300799


def latest(stubs, site_ids):
    request = live_data_pb2.GetLatestLiveDataRequest(site_ids=site_ids)
    answer = stubs.live_data.GetLatestLiveData(request, timeout=60)
    return list(answer.live_data_entries), list(answer.missing_site_ids)


def test_the_newest_of_each_in_the_order_asked_for(stubs):
    busy, old, far, empty = (create_site(stubs).id for _ in range(4))
    stored = create_entries(
        stubs,
        [
            entry(busy, dt_stamp=stamp(JUNE), soc=1),
            entry(busy, dt_stamp=stamp(JUNE + 7, 1000), soc=2),
            entry(busy, dt_stamp=stamp(JUNE + 7, 1000), soc=3),
            entry(busy, dt_stamp=stamp(JUNE + 6), soc=4),
            entry(busy, dt_stamp=stamp(YEAR_1), soc=5),
            entry(old, dt_stamp=stamp(YEAR_1), soc=6),
            entry(far, dt_stamp=stamp(YEAR_9999), soc=7),
            entry(far, dt_stamp=stamp(JUNE), soc=8),
        ],
    )
    of_busy, of_old, of_far = stored[2], stored[5], stored[6]
    assert latest(stubs, [far, empty, busy, 999_999, old, busy, empty]) == (
        [of_far, of_busy, of_old],
        [empty, 999_999],
    )
    assert latest(stubs, [empty]) == ([], [empty])

    # What comes late is not the newest; what is deleted gives way to the one before it.
    create_entries(stubs, [entry(busy, dt_stamp=stamp(JUNE + 7), soc=9)])
    assert latest(stubs, [busy]) == ([of_busy], [])
    for one, then in ((stored[2], stored[1]), (stored[6], stored[7])):
        stubs.live_data.DeleteLiveDataEntry(
            live_data_pb2.DeleteLiveDataEntryRequest(site_id=one.site_id, id=one.id)
        )
        assert latest(stubs, [one.site_id]) == ([then], [])


def test_a_site_that_is_being_deleted_has_no_entry(stubs, database):
    doomed, other = create_site(stubs).id, create_site(stubs).id
    stored = create_entries(stubs, [entry(doomed), entry(other)])
    database.query(f"UPDATE sites SET delete_time = now() WHERE id = {doomed} RETURNING id")
    assert latest(stubs, [doomed, other]) == ([stored[1]], [doomed])
    stubs.sites.DeleteSite(sites_pb2.DeleteSiteRequest(id=doomed))
    assert latest(stubs, [doomed, other]) == ([stored[1]], [doomed])


def test_a_thousand_sites_in_one_call(stubs, database):
    database.query("INSERT INTO sites (name, location) SELECT n, n FROM generate_series(1, 1000) AS n"
                   " RETURNING id")
    ids = [site_id for site_id, in database.query("SELECT id FROM sites ORDER BY id DESC")]
    stored = create_entries(stubs, [entry(site_id, soc=site_id % 100) for site_id in ids])
    create_entries(stubs, [entry(site_id, dt_stamp=stamp(JUNE - 1)) for site_id in ids])
    assert latest(stubs, ids) == (stored, [])
    for bad in (ids + [1], []):
        failure = fail(
            stubs.live_data.GetLatestLiveData, live_data_pb2.GetLatestLiveDataRequest(site_ids=bad)
        )
        assert failure.code == "INVALID_ARGUMENT"
        assert [path for path, _ in failure.violations] == ["site_ids"]


def test_rest(stubs, rest):
    first, second = create_site(stubs).id, create_site(stubs).id
    stored, = create_entries(stubs, [entry(second)])
    found = rest.get(f"/v1/liveData:latest?site_ids={first}&site_ids={second}").json()
    assert [one["id"] for one in found["live_data_entries"]] == [str(stored.id)]
    assert found["missing_site_ids"] == [str(first)]
