"""Sums over time, against the same sums in Python, whatever of it rollups hold and whatever not."""

import csv
import datetime
import gzip
import itertools
import math
import operator
import pathlib
import random
import subprocess
import sys
import zoneinfo

import pytest
from energysites.v1 import live_data_pb2

from support.calls import create_entries, create_site, entry, fail, stamp
from support.maintenance import maintain

ROOT = pathlib.Path(__file__).resolve().parents[2]
REAL = ROOT.parent / "shared" / "data"
UTC = datetime.timezone.utc
EPOCH = datetime.datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = datetime.timedelta(microseconds=1)
FIELDS = ("soc", "load_kwh", "net_load_kwh")
FLAGS = ("pv_notification", "bio_notification", "cro_notification")


def moment(text):
    return datetime.datetime.fromisoformat(text).replace(tzinfo=UTC)


def to_stamp(when):
    seconds, rest = divmod((when - EPOCH) // MICROSECOND, 1_000_000)
    return stamp(seconds, rest * 1000)


def from_stamp(message):
    return EPOCH + datetime.timedelta(seconds=message.seconds, microseconds=message.nanos // 1000)


def calendar_bucket(unit, when, zone):
    """Where the bucket of `when` begins and ends, in UTC. Needs midnights that come once."""
    local = when.astimezone(zone)
    if unit == "hour":
        full = local.replace(minute=0, second=0, microsecond=0)  # Keeps which of two it is.
        begin = full.astimezone(UTC)
        return begin, begin + datetime.timedelta(hours=1)
    day = local.date()
    if unit == "day":
        dates = day, day + datetime.timedelta(days=1)
    elif unit == "week":
        monday = day - datetime.timedelta(days=day.weekday())
        dates = monday, monday + datetime.timedelta(days=7)
    else:
        dates = day.replace(day=1), (day.replace(day=1) + datetime.timedelta(days=32)).replace(day=1)
    return tuple(
        datetime.datetime.combine(date, datetime.time(), zone).astimezone(UTC) for date in dates
    )


def bucket_of(bucket, when, zone):
    if not bucket.endswith("s"):
        return calendar_bucket(bucket, when, zone)
    length = datetime.timedelta(seconds=int(bucket[:-1]))
    begin = EPOCH + (when - EPOCH) // length * length
    return begin, begin + length


def sums(entries, site_ids, start, end, bucket, zone):
    """What AggregateLiveData answers, from the entries."""
    zone = zoneinfo.ZoneInfo(zone or "UTC")
    answer = []
    for site_id in site_ids:
        wanted = sorted(
            (from_stamp(one.dt_stamp), one.id, one)
            for one in entries
            if one.site_id == site_id and start <= from_stamp(one.dt_stamp) < end
        )
        for bounds, group in itertools.groupby(
            wanted, lambda row: bucket_of(bucket, row[0], zone)
        ):
            rows = [row[2] for row in group]
            answer.append(
                {"site": site_id, "start": max(bounds[0], start), "end": min(bounds[1], end),
                 "count": len(rows), **{name: summary([getattr(row, name) for row in rows])
                                        for name in FIELDS},
                 **{name: sum(getattr(row, name) for row in rows) for name in FLAGS}}
            )  # fmt: skip
    return answer


def summary(values):
    total = math.fsum(values)
    near = pytest.approx
    return [min(values), near(total / len(values), rel=1e-12), max(values), near(total, rel=1e-12),
            values[0], values[-1]]  # fmt: skip


def request(site_ids, start, end, bucket, zone=""):
    return live_data_pb2.AggregateLiveDataRequest(
        site_ids=site_ids, start_time=to_stamp(start), end_time=to_stamp(end), bucket=bucket,
        time_zone=zone,
    )  # fmt: skip


def aggregate(stubs, *arguments):
    """The answer in the form of `sums`."""
    answer = stubs.live_data.AggregateLiveData(request(*arguments), timeout=60)
    summaries = operator.attrgetter("min", "avg", "max", "sum", "first", "last")
    return [
        {"site": one.site_id, "start": from_stamp(one.start_time), "end": from_stamp(one.end_time),
         "count": one.count, **{name: list(summaries(getattr(one, name))) for name in FIELDS},
         **{name: getattr(one, f"{name}_count") for name in FLAGS}}
        for one in answer.buckets
    ]  # fmt: skip


def store(stubs, entries):
    """The entries as stored."""
    stored = []
    for i in range(0, len(entries), 10_000):
        stored += create_entries(stubs, entries[i : i + 10_000])
    return stored


def random_entries(rng, site_id, start, end, count):
    """Many share a moment with another, many lie on a full second, many on neither."""
    moments = [start + (end - start) * rng.random() for _ in range(count)]
    moments += [when.replace(second=0, microsecond=0) for when in rng.sample(moments, count // 3)]
    moments += rng.sample(moments, count // 3)
    rng.shuffle(moments)
    return [
        entry(site_id, dt_stamp=to_stamp(max(when, start)), soc=rng.random() * 100,
              load_kwh=rng.random(), net_load_kwh=rng.choice([0, 1e-9, 1e9]),
              pv_notification=rng.random() < 0.5, bio_notification=rng.random() < 0.1)
        for when in moments
    ]  # fmt: skip


@pytest.fixture
def service(unmaintained_service):
    return unmaintained_service


@pytest.fixture
def recompute(database):
    """Recomputes the stale buckets, of which there must be some, and checks that none is left."""

    def recompute():
        assert database.query("SELECT * FROM live_data_dirty_buckets LIMIT 1")
        maintain(database)
        assert database.query("SELECT * FROM live_data_dirty_buckets") == []

    return recompute


# Stretches of time with something to trip over, and how to sum them up.
CASES = [
    ("2024-03-29T22:11:07", "2024-04-02T01:02:03.000004", [
        ("day", "Europe/Berlin"), ("hour", "Europe/Berlin"), ("hour", "Asia/Kolkata"),
        ("day", "Asia/Kathmandu"), ("86400s", "Europe/Berlin"), ("1000s", ""), ("97s", "")]),
    ("2024-10-26T00:00:00", "2024-10-29T00:00:00", [
        ("day", "Europe/Berlin"), ("hour", "Europe/Berlin"), ("900s", ""), ("901s", ""),
        ("hour", "Australia/Adelaide"), ("90s", "")]),
    ("2023-12-28T00:00:00", "2024-04-03T12:00:00", [
        ("week", "Europe/Berlin"), ("month", "Europe/Berlin"), ("month", "America/New_York"),
        ("week", ""), ("604800s", ""), ("31622400s", "")]),
    # -0:44:30 from UTC.
    ("1971-04-20T06:00:00", "1971-05-05T06:00:01", [
        ("day", "Africa/Monrovia"), ("hour", "Africa/Monrovia"), ("week", "Africa/Monrovia")]),
    ("1969-12-31T12:34:56", "1970-01-01T11:22:33", [
        ("hour", ""), ("3600s", ""), ("29s", ""), ("day", "Asia/Tokyo")]),
]  # fmt: skip


def check(stubs, entries, site_ids):
    for start, end, ways in CASES:
        for bucket, zone in ways:
            wanted = (site_ids, moment(start), moment(end), bucket, zone)
            assert aggregate(stubs, *wanted) == sums(entries, *wanted), wanted


def test_every_bucket_is_right_whatever_is_dirty(stubs, recompute):
    rng = random.Random(2016)
    site_ids = [create_site(stubs).id for _ in range(3)]
    site_ids.reverse()  # The last has no entry.
    entries = []
    for start, end, _ in CASES:
        margin = datetime.timedelta(days=1)
        for site_id in site_ids[:2]:
            entries += store(
                stubs,
                random_entries(rng, site_id, moment(start) - margin, moment(end) + margin, 400),
            )
    check(stubs, entries, site_ids)
    recompute()
    check(stubs, entries, site_ids)

    # Late entries, and deletions: some buckets lose all that they had.
    rng.shuffle(entries)
    gone, entries = entries[:400], entries[400:]
    for one in gone:
        stubs.live_data.DeleteLiveDataEntry(
            live_data_pb2.DeleteLiveDataEntryRequest(site_id=one.site_id, id=one.id)
        )
    for start, end, _ in CASES:
        entries += store(
            stubs, random_entries(rng, site_ids[0], moment(start), moment(end), 50)
        )
    check(stubs, entries, site_ids)
    recompute()
    check(stubs, entries, site_ids)


def test_frozen_sums_outlive_their_entries(stubs, database, recompute):
    site_id = create_site(stubs).id
    start, kept_from, end = map(moment, ("2016-05-01T00:00", "2016-06-01T00:00", "2016-06-02T00:00"))
    entries = store(stubs, random_entries(random.Random(5), site_id, start, end, 500))
    recompute()
    # As retention leaves it, and a mark that came too late.
    database.query(f"UPDATE live_data_window SET kept_from = '{kept_from}' RETURNING 1")
    database.query(f"DELETE FROM live_data WHERE dt_stamp < '{kept_from}' RETURNING 1")
    database.query(
        f"INSERT INTO live_data_dirty_buckets SELECT site_id, bucket FROM live_data_rollups"
        f" WHERE bucket < '{kept_from}' LIMIT 7 RETURNING 1"
    )
    for bucket, zone in (("day", "Europe/Berlin"), ("month", ""), ("hour", "Asia/Kolkata")):
        wanted = ([site_id], start, end, bucket, zone)
        assert aggregate(stubs, *wanted) == sums(entries, *wanted), wanted
    recompute()
    wanted = ([site_id], start, end, "day", "Europe/Berlin")
    assert aggregate(stubs, *wanted) == sums(entries, *wanted)
    # What is finer than a rollup is gone, and only that.
    assert aggregate(stubs, [site_id], start, kept_from, "300s") == []
    wanted = ([site_id], kept_from, end, "300s", "")
    assert aggregate(stubs, *wanted) == sums(entries, *wanted)


def test_a_year_of_a_home(stubs, recompute, tmp_path):
    folder = REAL
    if not REAL.exists():
        folder = tmp_path
        command = [sys.executable, ROOT / "tests/support/generate_year.py", folder, "--homes", "1"]
        subprocess.run(command, check=True)
    site_id = create_site(stubs).id
    with gzip.open(folder / "live_data.csv.gz", "rt", newline="") as file:
        rows = list(csv.DictReader(file))
    entries = store(stubs, [
        entry(site_id, dt_stamp=to_stamp(moment(row["dt_stamp"].removesuffix("Z"))),
              **{name: float(row[name]) for name in FIELDS},
              **{name: row[name] == "true" for name in FLAGS})
        for row in rows if row["site_name"] == rows[0]["site_name"]
    ])  # fmt: skip
    assert len(entries) == 8760
    start, end = moment("2016-01-01T00:00"), moment("2018-01-01T00:00")
    for prepare in (lambda: None, recompute):
        prepare()
        for bucket in ("day", "week", "month", "86400s"):
            wanted = ([site_id], start, end, bucket, "America/Los_Angeles")
            assert aggregate(stubs, *wanted) == sums(entries, *wanted), wanted


def test_bounds_finer_than_a_microsecond_are_the_callers_own(stubs):
    site_id = create_site(stubs).id
    store(stubs, [entry(site_id, dt_stamp=stamp(100, 5000))])
    wanted = request([site_id], EPOCH, EPOCH, "day")
    for start, end, found in ((5000, 5001, 1), (4001, 5001, 1), (5001, 9000, 0), (0, 5000, 0)):
        wanted.start_time.CopyFrom(stamp(100, start))
        wanted.end_time.CopyFrom(stamp(100, end))
        buckets = stubs.live_data.AggregateLiveData(wanted, timeout=30).buckets
        assert len(buckets) == found
        for bucket in buckets:
            assert (bucket.start_time.nanos, bucket.end_time.nanos) == (start, end)


def test_the_ends_of_time(stubs, recompute):
    site_id = create_site(stubs).id
    store(stubs, [entry(site_id, dt_stamp=stamp(-62135596800)),
                  entry(site_id, dt_stamp=stamp(253402300799, 999_999_000))])
    for prepare in (lambda: None, recompute):
        prepare()
        for year in (1, 9999):
            start = datetime.datetime(year, 1, 1, tzinfo=UTC)
            end = datetime.datetime(year, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)
            wanted = request([site_id], start, end, "31622400s")
            wanted.end_time.nanos = 999_999_999
            buckets = stubs.live_data.AggregateLiveData(wanted, timeout=30).buckets
            assert [one.count for one in buckets] == [1]


def test_the_largest_answer_reaches_a_client_with_default_limits(stubs, rest):
    site_id = create_site(stubs).id
    first = -62135596800  # Whose seconds are the longest on the wire.
    store(stubs, [entry(site_id, dt_stamp=stamp(first + second), bio_notification=True,
                        cro_notification=True) for second in range(10_000)])  # fmt: skip
    wanted = request([site_id], EPOCH, EPOCH, "1s")
    wanted.start_time.CopyFrom(stamp(first))
    wanted.end_time.CopyFrom(stamp(first + 10_000))
    answer = stubs.live_data.AggregateLiveData(wanted, timeout=60)
    assert len(answer.buckets) == 10_000
    found = rest.get(
        f"/v1/liveData:aggregate?site_ids={site_id}&start_time=0001-01-01T00:00:00Z"
        "&end_time=0001-01-01T02:46:40Z&bucket=1s"
    ).json()
    assert len(found["buckets"]) == 10_000
    wanted.end_time.nanos = 1000
    failure = fail(stubs.live_data.AggregateLiveData, wanted)
    assert failure.violations == [("end_time", "end_time.buckets")]


def test_what_is_refused(stubs, database):
    site_id = create_site(stubs).id
    start, end = moment("2024-01-01T00:00"), moment("2025-01-01T00:00")
    table = [
        (dict(bucket="day", zone="Europe/Nowhere"), [("time_zone", "time_zone.known")]),
        (dict(bucket="day", zone="localtime"), [("time_zone", "time_zone.known")]),
        (dict(bucket="31622401s"), [("bucket", "bucket.length")]),
        (dict(bucket="1s"), [("end_time", "end_time.buckets")]),
        (dict(bucket="year"), [("bucket", "string.pattern")]),
        (dict(bucket="day", zone="a.b"), [("time_zone", "string.pattern")]),
    ]
    for changes, violations in table:
        failure = fail(stubs.live_data.AggregateLiveData, request([site_id], start, end, **changes))
        assert (failure.code, failure.violations) == ("INVALID_ARGUMENT", violations)
    # Days before start_time: nothing, but of known sites.
    assert aggregate(stubs, [site_id], end, start, "day") == []
    for bounds in ((start, end), (end, start)):
        failure = fail(
            stubs.live_data.AggregateLiveData, request([site_id, 999_999], *bounds, "day")
        )
        assert failure.code == "NOT_FOUND"
        assert failure.details["ResourceInfo"].resource_name == "999999"
    database.query("UPDATE sites SET delete_time = now() RETURNING id")
    assert fail(stubs.live_data.AggregateLiveData,
                request([site_id], start, end, "day")).code == "NOT_FOUND"


def test_rest(stubs, rest):
    site_id = create_site(stubs).id
    store(stubs, [entry(site_id, dt_stamp=to_stamp(moment("2024-10-27T12:00")))])
    found = rest.get(
        f"/v1/liveData:aggregate?site_ids={site_id}&start_time=2024-10-01T00:00:00Z"
        "&end_time=2024-11-01T00:00:00Z&bucket=day&time_zone=Europe/Berlin"
    ).json()
    (bucket,) = found["buckets"]
    assert (bucket["start_time"], bucket["end_time"], bucket["count"]) == (
        "2024-10-26T22:00:00Z", "2024-10-27T23:00:00Z", "1")
    assert bucket["soc"] == dict.fromkeys(("min", "avg", "max", "sum", "first", "last"), 55.5)
