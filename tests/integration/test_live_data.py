"""Live data entries one by one: stored, found, listed by time, deleted, refused."""

import grpc
from energysites.v1 import live_data_pb2, sites_pb2

from support.calls import JUNE, contents, create_entry, create_site, entry, fail, stamp

UNKNOWN = 9_223_372_036_854_775_807
MICROSECOND = 1000  # In nanoseconds.


def listed(stubs, **parameters):
    request = live_data_pb2.ListLiveDataEntriesRequest(**parameters)
    return list(stubs.live_data.ListLiveDataEntries(request).live_data_entries)


def test_a_life(stubs):
    site_id = create_site(stubs).id
    created = create_entry(stubs, site_id, id=77, create_time=stamp(5))
    assert created.id not in (0, 77) and created.create_time.seconds > JUNE
    assert entry(site_id, id=created.id, create_time=created.create_time) == created
    names = {"site_id": site_id, "id": created.id}
    get = live_data_pb2.GetLiveDataEntryRequest(**names)
    assert stubs.live_data.GetLiveDataEntry(get) == created
    assert listed(stubs, site_id=site_id) == [created] == listed(stubs)

    stubs.live_data.DeleteLiveDataEntry(live_data_pb2.DeleteLiveDataEntryRequest(**names))
    assert not listed(stubs, site_id=site_id)
    for failure in (
        fail(stubs.live_data.GetLiveDataEntry, get),
        fail(
            stubs.live_data.DeleteLiveDataEntry, live_data_pb2.DeleteLiveDataEntryRequest(**names)
        ),
    ):
        assert failure.code == "NOT_FOUND"
        resource = failure.details["ResourceInfo"]
        assert resource.resource_type == "energysites.v1.LiveDataEntry"
        assert resource.resource_name == f"{site_id}/{created.id}"


def test_equal_entries_are_two(stubs):
    site_id = create_site(stubs).id
    one, two = create_entry(stubs, site_id), create_entry(stubs, site_id)
    assert one.id != two.id
    assert listed(stubs, site_id=site_id, order_by="dt_stamp") == [one, two]


def test_an_id_is_only_good_together_with_its_site(stubs, database):
    here, elsewhere = create_site(stubs).id, create_site(stubs).id
    one = create_entry(stubs, here)
    before = contents(database)
    # Any number may come as an id, whatever month it seems to carry.
    ids = [one.id + 1, one.id ^ (1 << 46), 1, 2**46, 2**62, UNKNOWN]
    for site_id, entry_id in [(here, other) for other in ids] + [
        (elsewhere, one.id),
        (UNKNOWN, one.id),
    ]:
        names = {"site_id": site_id, "id": entry_id}
        for method, request in (
            (stubs.live_data.GetLiveDataEntry, live_data_pb2.GetLiveDataEntryRequest(**names)),
            (
                stubs.live_data.DeleteLiveDataEntry,
                live_data_pb2.DeleteLiveDataEntryRequest(**names),
            ),
        ):
            assert fail(method, request).code == "NOT_FOUND", names
    assert contents(database) == before


def test_every_month_takes_entries(stubs, database):
    """History and future, inside the window of months and far outside."""
    site_id = create_site(stubs).id
    seconds = [
        -62135596800,
        -1,
        0,
        951782400,
        JUNE,
        1785000000,
        1830297599,
        32503680000,
        253402300799,
    ]
    stored = [create_entry(stubs, site_id, dt_stamp=stamp(when)) for when in seconds]
    assert listed(stubs, site_id=site_id, order_by="dt_stamp") == stored
    for one in stored:
        get = live_data_pb2.GetLiveDataEntryRequest(site_id=site_id, id=one.id)
        assert stubs.live_data.GetLiveDataEntry(get) == one
    # Only what lies in the window has made partitions of its own.
    partitions = database.query(
        "SELECT count(*) FROM pg_inherits WHERE inhparent = 'live_data'::regclass"
    )
    assert partitions[0][0] <= 2 + len(seconds)


def test_ranges_are_half_open(stubs):
    site_id, other = create_site(stubs).id, create_site(stubs).id
    times = [
        stamp(JUNE - 1, 999_999_000),
        stamp(JUNE),
        stamp(JUNE, MICROSECOND),
        stamp(JUNE + 3600),
    ]
    stored = [create_entry(stubs, site_id, dt_stamp=time) for time in times]
    create_entry(stubs, other, dt_stamp=times[1])
    before, june, soon, later = times
    table = [
        ((None, None), [0, 1, 2, 3]),
        ((june, None), [1, 2, 3]),
        ((None, june), [0]),
        ((before, june), [0]),
        ((june, soon), [1]),
        ((june, later), [1, 2]),
        ((before, later), [0, 1, 2]),
        ((soon, stamp(JUNE + 3600, MICROSECOND)), [2, 3]),
        # Bounds between two microseconds, the finest that stored stamps have.
        ((stamp(JUNE - 1, 999_999_999), stamp(JUNE, 1)), [1]),
        ((stamp(JUNE, 1), stamp(JUNE, MICROSECOND)), []),
        ((stamp(JUNE, 1), None), [2, 3]),
        ((june, june), []),  # Empty, and no error: so are reversed ones.
        ((later, june), []),
        ((stamp(-62135596800), stamp(253402300799, 999_999_999)), [0, 1, 2, 3]),
    ]
    for (start, end), expected in table:
        for order, wanted in (
            ("dt_stamp", expected),
            ("dt_stamp desc", expected[::-1]),
            ("", expected[::-1]),
        ):
            parameters = {"start_time": start, "end_time": end, "order_by": order}
            assert listed(stubs, site_id=site_id, **parameters) == [stored[i] for i in wanted]
            across = [one for one in listed(stubs, **parameters) if one.site_id == site_id]
            assert across == [stored[i] for i in wanted]


def test_bad_lists(stubs):
    table = [
        ({"site_id": -1}, [("site_id", "int64.gte")]),
        ({"order_by": "soc"}, [("order_by", "string.in")]),
        ({"order_by": "dt_stamp asc"}, [("order_by", "string.in")]),
        ({"start_time": stamp(-62135596801)}, [("start_time", "timestamp.gte_lte")]),
        ({"end_time": stamp(253402300800)}, [("end_time", "timestamp.gte_lte")]),
        ({"end_time": stamp(0, -1)}, [("end_time", "timestamp.valid")]),
        (
            {"page_size": -1, "order_by": "id"},
            [("order_by", "string.in"), ("page_size", "int32.gte")],
        ),
    ]
    for parameters, violations in table:
        request = live_data_pb2.ListLiveDataEntriesRequest(**parameters)
        failure = fail(stubs.live_data.ListLiveDataEntries, request)
        assert (failure.code, failure.violations) == ("INVALID_ARGUMENT", violations)


def test_an_entry_for_a_site_that_is_being_deleted_is_not_found(stubs, database):
    site_id = create_site(stubs).id
    stored = create_entry(stubs, site_id)
    # A deletion that was cut half way leaves the site so.
    database.query("UPDATE sites SET delete_time = now() RETURNING id")
    for method, request in (
        (
            stubs.live_data.CreateLiveDataEntry,
            live_data_pb2.CreateLiveDataEntryRequest(live_data_entry=entry(site_id)),
        ),
        (
            stubs.live_data.BatchCreateLiveDataEntries,
            live_data_pb2.BatchCreateLiveDataEntriesRequest(entries=[entry(site_id)]),
        ),
        (stubs.sites.GetSite, sites_pb2.GetSiteRequest(id=site_id)),
    ):
        failure = fail(method, request)
        assert failure.code == "NOT_FOUND"
        assert failure.details["ResourceInfo"].resource_name == str(site_id)
    assert database.query("SELECT id FROM live_data") == [(stored.id,)]
    # It goes on where it stopped.
    stubs.sites.DeleteSite(sites_pb2.DeleteSiteRequest(id=site_id))
    assert not any(contents(database).values())


def test_rest(stubs, rest):
    site_id = create_site(stubs).id
    fields = {
        "dt_stamp": "2016-06-01T00:00:00.123456789Z",
        "soc": 0,
        "load_kwh": 5e-324,
        "net_load_kwh": 0.1,
        "pv_notification": False,
        "bio_notification": True,
        "cro_notification": False,
    }
    nested = rest.post(f"/v1/sites/{site_id}/liveData", fields).json()
    flat = rest.post("/v1/liveData", {**fields, "site_id": str(site_id)}).json()
    assert nested["dt_stamp"] == "2016-06-01T00:00:00.123456Z"
    assert (nested["soc"], nested["load_kwh"], nested["pv_notification"]) == (0, 5e-324, False)
    path = f"/v1/sites/{site_id}/liveData"
    found = rest.get(f"{path}?order_by=dt_stamp&start_time=2016-06-01T00:00:00Z").json()
    assert found == {"live_data_entries": [nested, flat], "next_page_token": ""}
    assert rest.get(f"{path}?end_time=2016-06-01T00:00:00Z").json()["live_data_entries"] == []
    assert rest.get("/v1/liveData?page_size=1").json()["live_data_entries"] == [flat]
    assert rest.get(f"{path}/{nested['id']}").json() == nested
    assert rest.delete(f"{path}/{nested['id']}").json() == {}
    assert rest.get(f"{path}/{nested['id']}").status_code == 404
    batch = rest.post(
        "/v1/liveData:batchCreate", {"entries": [{**fields, "site_id": str(site_id)}] * 2}
    )
    assert batch.status_code == 200 and batch.json()["failed_requests"] == {}
    assert len(batch.json()["live_data_entries"]) == 2
    partial = rest.post(
        "/v1/liveData:batchCreate", {"entries": [{}], "return_partial_success": True}
    )
    assert (
        partial.json()["failed_requests"]["0"]["code"] == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    )
