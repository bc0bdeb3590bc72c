"""ExportLiveData and DownloadLiveData: all of a range, in any size."""

import csv
import io
import json
import time

import grpc
import pytest
from energysites.v1 import live_data_pb2
from google.protobuf import field_mask_pb2, timestamp_pb2
from support.calls import (
    JUNE, create_entries, create_site, entry, fail, failure_of, stamp, store_many,
)  # fmt: skip
from support.process import wait_until

MONTH = 30 * 86400
FAR_PAST, FAR_FUTURE = -62135596800, 253402300799


def export(stubs, **fields):
    answers = list(
        stubs.live_data.ExportLiveData(live_data_pb2.ExportLiveDataRequest(**fields), timeout=60)
    )
    for answer in answers:
        assert answer.entry_count == len(answer.live_data_entries) > 0
    return [one for answer in answers for one in answer.live_data_entries]


def key(one):
    return (one.site_id, one.dt_stamp.seconds, one.dt_stamp.nanos, one.id)


@pytest.fixture
def stored(stubs):
    """Entries of two sites in each kind of partition, in the order of an export by sites."""
    sites = [create_site(stubs).id for _ in range(2)]
    moments = [FAR_PAST, 0, JUNE, JUNE, JUNE + 1, JUNE + MONTH, JUNE + 3 * MONTH, FAR_FUTURE]
    values = [0.0, 0.1, 1 / 3, 100.0, 5e-324, 99.99999999999999, 1e-7, 12.5]
    entries = [
        entry(site, dt_stamp=stamp(moment, 123456000), soc=value, load_kwh=value * 1e300,
              pv_notification=moment == JUNE, cro_notification=site == sites[1])
        for site in sites
        for moment, value in zip(moments, values, strict=True)
    ]  # fmt: skip
    return create_entries(stubs, entries)


def test_everything_comes_bit_by_bit(stubs, stored):
    assert sorted(export(stubs), key=key) == sorted(stored, key=key)


@pytest.mark.parametrize(
    "start, end",
    [(None, None), (JUNE, None), (None, JUNE + 1), (JUNE + 1, JUNE + 3 * MONTH), (JUNE, JUNE)],
)
def test_a_range_of_one_site_comes_in_order(stubs, stored, start, end):
    site = stored[0].site_id
    fields = {"site_ids": [site]}
    if start is not None:
        fields["start_time"] = stamp(start, 123456000)
    if end is not None:
        fields["end_time"] = stamp(end, 123456000)
    expected = [
        one
        for one in stored
        if one.site_id == site
        and (start is None or one.dt_stamp.seconds >= start)
        and (end is None or one.dt_stamp.seconds < end)
    ]
    assert export(stubs, **fields) == sorted(expected, key=key)


def test_only_the_fields_asked_for_come(stubs, stored):
    mask = field_mask_pb2.FieldMask(paths=["soc", "dt_stamp"])
    got = export(stubs, site_ids=[stored[0].site_id], read_mask=mask)
    assert got == [
        live_data_pb2.LiveDataEntry(dt_stamp=one.dt_stamp, soc=one.soc)
        for one in stored
        if one.site_id == stored[0].site_id
    ]


def test_wrong_requests_are_refused_before_anything_comes(stubs, rest):
    for paths in (["soc", "unknown"], ["dt_stamp.seconds"]):
        mask = field_mask_pb2.FieldMask(paths=paths)
        with pytest.raises(grpc.RpcError) as error:
            export(stubs, read_mask=mask)
        assert failure_of(error.value).violations == [("read_mask", "field_mask.known")]
    with pytest.raises(grpc.RpcError) as error:
        export(stubs, site_ids=[10**15])
    assert failure_of(error.value).code == "NOT_FOUND"
    answer = rest.get("/v1/liveData:download", params={"site_ids": 10**15})
    assert (answer.status_code, answer.json()["code"]) == (404, 5)


def test_a_download_is_a_file_that_says_where_it_ends(stubs, stored, rest):
    answer = rest.get("/v1/liveData:download")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["content-disposition"] == 'attachment; filename="live-data.csv"'
    *lines, end = answer.text.splitlines()
    assert end == f"# end {len(stored)} rows"
    rows = {int(row["id"]): row for row in csv.DictReader(io.StringIO("\n".join(lines)))}
    assert list(rows[stored[0].id]) == [field.name for field in stored[0].DESCRIPTOR.fields]
    assert len(rows) == len(stored)
    for one in stored:
        row = rows[one.id]
        assert (int(row["site_id"]), float(row["soc"]), float(row["load_kwh"])) == (
            one.site_id, one.soc, one.load_kwh
        )  # fmt: skip
        moment = timestamp_pb2.Timestamp()
        moment.FromJsonString(row["dt_stamp"])
        assert moment == one.dt_stamp
        assert row["pv_notification"] == ("true" if one.pv_notification else "false")


def test_ndjson_is_what_rest_shows(stubs, stored, rest):
    answer = rest.get("/v1/liveData:download", params={"format": "ndjson", "read_mask": "id,soc"})
    assert answer.headers["content-type"] == "application/x-ndjson"
    *rows, end = [json.loads(line) for line in answer.text.splitlines()]
    assert end == {"end": {"rows": len(stored)}}
    assert {(row["id"], row["soc"]) for row in rows} == {(str(one.id), one.soc) for one in stored}


def test_nothing_is_a_complete_download(rest):
    answer = rest.get("/v1/liveData:download", params={"read_mask": "soc"})
    assert answer.text == "soc\n# end 0 rows\n"


def exports_running(database):
    return database.query(
        "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'COPY%%' AND state = 'active'"
        " AND datname = %s",
        [database.name],
    )[0][0]


def test_a_client_that_leaves_stops_the_query(stubs, database):
    store_many(stubs, database, 300_000)
    stream = stubs.live_data.ExportLiveData(live_data_pb2.ExportLiveDataRequest(), timeout=60)
    next(stream)
    wait_until(lambda: exports_running(database) == 1, 30, "the export runs")
    stream.cancel()
    wait_until(lambda: exports_running(database) == 0, 30, "the export is stopped")
    assert len(export(stubs)) == 300_001


def test_a_client_that_takes_nothing_is_dropped(start_service, database):
    clients = start_service(database, flags=("--export_stall_timeout=1s",)).stubs()
    store_many(clients, database, 300_000)
    stream = clients.live_data.ExportLiveData(live_data_pb2.ExportLiveDataRequest(), timeout=60)
    taken = next(stream).entry_count
    wait_until(lambda: exports_running(database) == 1, 30, "the export runs")
    wait_until(lambda: exports_running(database) == 0, 30, "the export is stopped")
    with pytest.raises(grpc.RpcError) as error:
        for answer in stream:
            taken += answer.entry_count
    failure = failure_of(error.value)
    assert (failure.code, failure.text) == (
        "RESOURCE_EXHAUSTED", "the client reads the responses too slowly"
    )  # fmt: skip
    assert 0 < taken < 300_001
    # One that is only slow is not.
    stream = clients.live_data.ExportLiveData(live_data_pb2.ExportLiveDataRequest(), timeout=60)
    taken = 0
    for number, answer in enumerate(stream):
        taken += answer.entry_count
        if number % 10 == 0:
            time.sleep(0.3)
    assert taken == 300_001
    clients.close()


@pytest.mark.one_server("the connections are each process's own")
def test_exports_have_connections_of_their_own(start_server, database):
    clients = start_server(database, flags=("--export_connections=1",)).stubs()
    store_many(clients, database, 300_000)
    request = live_data_pb2.ExportLiveDataRequest()
    first = clients.live_data.ExportLiveData(request, timeout=60)
    next(first)
    with pytest.raises(grpc.RpcError) as error:
        list(clients.live_data.ExportLiveData(request, timeout=60))
    refusal = failure_of(error.value)
    assert refusal.code == "RESOURCE_EXHAUSTED"
    assert "RetryInfo" in refusal.details
    assert create_site(clients).id > 0, "calls with one answer go on"
    assert sum(answer.entry_count for answer in first) > 0
    assert len(export(clients)) == 300_001, "its connection is free once it has ended"
    clients.close()


def test_a_lost_database_ends_a_download_without_its_last_line(stubs, database, rest):
    store_many(stubs, database, 300_000)
    stream = stubs.live_data.DownloadLiveData(live_data_pb2.DownloadLiveDataRequest(), timeout=60)
    parts = [next(stream).data]
    wait_until(lambda: exports_running(database) == 1, 30, "the export runs")
    database.query(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'COPY%%'"
    )
    with pytest.raises(grpc.RpcError) as error:
        parts.extend(body.data for body in stream)
    assert failure_of(error.value).code == "UNAVAILABLE"
    assert b"# end" not in b"".join(parts)


def test_an_unknown_format_is_refused(stubs):
    request = live_data_pb2.DownloadLiveDataRequest(format="xml")
    failure = fail(lambda *a, **k: list(stubs.live_data.DownloadLiveData(*a, **k)), request)
    assert failure.violations == [("format", "string.in")]
