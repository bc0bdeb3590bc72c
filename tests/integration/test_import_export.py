"""A year of 17 homes in and out again, through `energy-sites import` and `export`.

The homes are the real ones where shared/data lies beside the project, else generated ones.
"""
import collections
import csv
import datetime
import gzip
import math
import pathlib
import subprocess
import sys
import time

import pytest

from energysites.v1 import configurations_pb2, live_data_pb2, sites_pb2

from support.calls import create_entries, create_site
from support.server import BINARY

ROOT = pathlib.Path(__file__).resolve().parents[2]
REAL = ROOT.parent / "shared" / "data"
NUMBERS = ("soc", "load_kwh", "net_load_kwh")
FLAGS = ("pv_notification", "bio_notification", "cro_notification")


@pytest.fixture(scope="module")
def year(tmp_path_factory):
    """The folder with the three files."""
    if (REAL / "live_data.csv.gz").exists():
        return REAL
    folder = tmp_path_factory.mktemp("year")
    subprocess.run([sys.executable, ROOT / "tests/support/generate_year.py", folder], check=True)
    return folder


@pytest.fixture(scope="module")
def rows(year):
    """What the live data file says, as rows_stored gives it: site name -> rows in its order."""
    rows = collections.defaultdict(list)
    with gzip.open(year / "live_data.csv.gz", "rt", newline="") as file:
        for row in csv.DictReader(file):
            stamp = datetime.datetime.fromisoformat(row["dt_stamp"].replace("Z", "+00:00"))
            rows[row["site_name"]].append((int(stamp.timestamp()),
                                           *(float(row[name]) for name in NUMBERS),
                                           *(row[name] == "true" for name in FLAGS)))
    return dict(rows)


@pytest.fixture
def run(service):
    """Runs import or export against the service; returns the finished process."""

    def run(command, *arguments, **options):
        return subprocess.run(
            [BINARY, command, *service.client_flags(), *map(str, arguments)],
            capture_output=True, text=True, timeout=300, **options)

    return run


def files_of(year):
    return [f"--sites={year}/sites.csv", f"--configurations={year}/configurations.csv",
            f"--live-data={year}/live_data.csv.gz"]


def pages(method, request, field):
    """Everything that the list method has, page by page."""
    request.page_size = 1000
    while True:
        page = method(request)
        yield from getattr(page, field)
        if not page.next_page_token:
            return
        request.page_token = page.next_page_token


def site_ids(stubs):
    """The ids of the sites by name; a name that two have fails."""
    sites = list(pages(stubs.sites.ListSites, sites_pb2.ListSitesRequest(), "sites"))
    ids = {site.name: site.id for site in sites}
    assert len(ids) == len(sites)
    return ids


def rows_stored(stubs):
    """What the service has: site name -> rows in the order of time."""
    stored = {}
    for name, site_id in site_ids(stubs).items():
        request = live_data_pb2.ListLiveDataEntriesRequest(site_id=site_id, order_by="dt_stamp")
        stored[name] = [
            (entry.dt_stamp.seconds, *(getattr(entry, field) for field in NUMBERS + FLAGS))
            for entry in pages(stubs.live_data.ListLiveDataEntries, request, "live_data_entries")]
    return stored


def count_stored(stubs):
    request = live_data_pb2.ListLiveDataEntriesRequest()
    return sum(1 for _ in pages(stubs.live_data.ListLiveDataEntries, request, "live_data_entries"))


def count_stored_of(stubs, site_id):
    request = live_data_pb2.ListLiveDataEntriesRequest(site_id=site_id)
    return sum(1 for _ in pages(stubs.live_data.ListLiveDataEntries, request, "live_data_entries"))


def test_a_year_goes_in_once_and_comes_out_the_same(run, stubs, year, rows, tmp_path):
    total = sum(map(len, rows.values()))
    first = run("import", *files_of(year))
    assert (first.returncode, first.stderr.count("csv")) == (0, 0), first.stderr
    assert f"live_data: {total:,} rows: {total:,} stored, 0 stored before, 0 bad" in first.stdout
    print(first.stdout)

    stored = rows_stored(stubs)
    assert {name: len(of_site) for name, of_site in stored.items()} == {
        name: len(of_site) for name, of_site in rows.items()}
    for name, of_site in rows.items():
        for column in range(1, 1 + len(NUMBERS)):
            assert math.fsum(row[column] for row in stored[name]) == math.fsum(
                row[column] for row in of_site), (name, NUMBERS[column - 1])
    assert stored == rows
    configurations = list(pages(stubs.configurations.ListConfigurations,
                                configurations_pb2.ListConfigurationsRequest(), "configurations"))
    with open(year / "configurations.csv", newline="") as file:
        wanted = list(csv.DictReader(file))
    ids = site_ids(stubs)
    assert sorted((one.site_id, one.battery_vendor, one.battery_capacity_kwh,
                   one.battery_max_power_kw, one.production_pv_units, one.production_bio_units,
                   one.production_cro_units, one.production_pv_kwp,
                   one.HasField("production_cro_kwp")) for one in configurations) == sorted(
        (ids[one["site_name"]], one["battery_vendor"], float(one["battery_capacity_kwh"]),
         float(one["battery_max_power_kw"]), int(one["production_pv_units"]),
         int(one["production_bio_units"]), int(one["production_cro_units"]),
         float(one["production_pv_kwp"]), False) for one in wanted)

    second = run("import", *files_of(year))
    assert second.returncode == 0, second.stderr
    assert f"live_data: {total:,} rows: 0 stored, {total:,} stored before" in second.stdout
    assert rows_stored(stubs) == rows
    assert len(list(pages(stubs.configurations.ListConfigurations,
                          configurations_pb2.ListConfigurationsRequest(),
                          "configurations"))) == len(configurations)

    # One home, byte for byte, by name and by id, and a day of it.
    name = sorted(rows)[0]
    lines = gzip.decompress((year / "live_data.csv.gz").read_bytes()).splitlines(keepends=True)
    home = [line for line in lines[1:] if line.startswith(f"{name},".encode())]
    assert len(home) == len(rows[name])
    output = tmp_path / "home.csv"
    exported = run("export", f"--site={name}", f"--output={output}")
    assert exported.returncode == 0, exported.stderr
    assert output.read_bytes() == b"".join([lines[0], *home, b"# end %d rows\n" % len(home)])
    start, end = (line.split(b",")[1].decode() for line in (home[24], home[48]))
    day = run("export", f"--site_id={ids[name]}", f"--start_time={start}", f"--end_time={end}")
    assert day.stdout.encode() == b"".join([lines[0], *home[24:48], b"# end 24 rows\n"])


def test_an_import_that_was_killed_is_run_again(service, run, stubs, year, rows):
    total = sum(map(len, rows.values()))
    importer = subprocess.Popen(
        [BINARY, "import", *service.client_flags(), *files_of(year)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        one = live_data_pb2.ListLiveDataEntriesRequest(page_size=1)
        while not stubs.live_data.ListLiveDataEntries(one).live_data_entries:
            assert importer.poll() is None and time.monotonic() < deadline
    finally:
        importer.kill()
        importer.wait()
    assert 0 < count_stored(stubs) < total, "the import was not cut in the middle"

    again = run("import", *files_of(year))
    assert again.returncode == 0, again.stderr
    assert rows_stored(stubs) == rows


def test_bad_rows_are_reported_by_line_and_the_others_go_in(run, stubs, tmp_path):
    (tmp_path / "sites.csv").write_text(
        'name,location\n"Harbour, east",Kiel\nAttic,\n"Harbour, east",Lübeck\n')
    (tmp_path / "configurations.csv").write_text(
        "site_name,battery_vendor,battery_capacity_kwh,battery_max_power_kw,"
        "production_pv_units,production_bio_units,production_cro_units,production_cro_kwp\n"
        '"Harbour, east",tesla,6.4,5,1,0,0,\n'
        '"Harbour, east",KATL,6.4,5,1,0,0,-2.5\n')
    header = ("site_name,dt_stamp,soc,load_kwh,net_load_kwh,"
              "pv_notification,bio_notification,cro_notification")
    good = ['"Harbour, east",2016-08-01T07:00:00.000001Z,100,0.1,1e+300,true,false,true',
            '"Harbour, east",2016-08-01T08:00:00Z,0,0,0,false,false,false']
    bad = ['"Harbour, east",2016-08-01T09:00:00Z,100.5,-1,0,true,false,false',
           '"Harbour, east",2016-08-01T09:00:00Z,,nan,0,true,false,false',
           '"Harbour, east",2016-08-01T09:00:00Z,1,2',
           '"Harbour, east",2016-02-30T09:00:00Z,1,2,3,true,false,false',
           'Attic,2016-08-01T09:00:00Z,1,2,3,true,false,false',
           '"Harbour, east,2016-08-01T09:00:00Z,1,2,3,true,false,false',
           '"Harbour, east",0000-08-01T09:00:00Z,1,2,3,true,false,1']
    live_data = tmp_path / "live_data.csv"
    # As a spreadsheet writes it: with a byte order mark and CRLF.
    live_data.write_bytes("\r\n".join(["\ufeff" + header, good[0], *bad, good[1], ""]).encode())
    arguments = [f"--sites={tmp_path}/sites.csv",
                 f"--configurations={tmp_path}/configurations.csv", f"--live-data={live_data}"]

    for _ in range(2):  # the second run reports the same and adds nothing
        result = run("import", *arguments)
        assert result.returncode == 1
        found = [line.removeprefix(f"{tmp_path}/") for line in result.stderr.splitlines()]
        expected = ["sites.csv:3: site.location: ",
                    "sites.csv:4: site.name: is the same as in line 2",
                    "configurations.csv:2: configuration.battery_vendor: ",
                    "live_data.csv:3: live_data_entry.soc: ",
                    "live_data.csv:3: live_data_entry.load_kwh: ",
                    "live_data.csv:4: live_data_entry.soc: ",
                    "live_data.csv:4: live_data_entry.load_kwh: ",
                    "live_data.csv:5: must have 8 columns, has 4",
                    'live_data.csv:6: live_data_entry.dt_stamp: "2016-02-30T09:00:00Z" is not',
                    'live_data.csv:7: site_name: there is no site named "Attic"',
                    "live_data.csv:8: a quoted field is not terminated",
                    'live_data.csv:9: live_data_entry.cro_notification: "1" is not true or false']
        unmatched = [line for line in found
                     if not any(line.startswith(start) for start in expected)]
        missing = [start for start in expected
                   if not any(line.startswith(start) for line in found)]
        assert (unmatched, missing) == ([], []), result.stderr
        assert list(site_ids(stubs)) == ["Harbour, east"]
        exported = run("export", "--site=Harbour, east")
        assert exported.stdout.splitlines() == [header, *good, "# end 2 rows"]


def test_a_download_comes_in_again_only_if_it_is_whole(run, rest, stubs, tmp_path):
    site_id = create_site(stubs).id
    entries = [live_data_pb2.LiveDataEntry(
        site_id=site_id, dt_stamp={"seconds": 1714564800 + 60 * i}, soc=i + 0.25, load_kwh=0.1,
        net_load_kwh=0, pv_notification=True, bio_notification=False, cro_notification=False)
        for i in range(3)]  # fmt: skip
    create_entries(stubs, entries)
    url = f"/v1/liveData:download?site_ids={site_id}&format=csv"
    whole = rest.get(url).text
    deleted = next(pages(stubs.live_data.ListLiveDataEntries,
                         live_data_pb2.ListLiveDataEntriesRequest(site_id=site_id),
                         "live_data_entries"))
    stubs.live_data.DeleteLiveDataEntry(
        live_data_pb2.DeleteLiveDataEntryRequest(site_id=site_id, id=deleted.id))
    file = tmp_path / "live-data.csv"

    lines = whole.splitlines(keepends=True)
    cuts = ["".join(lines[:count]) for count in range(1, len(lines))] + [whole[:-10]]
    wrong = ["".join([*lines[:2], *lines[3:]]), whole + lines[1]]
    for content in cuts + wrong:
        file.write_text(content)
        refused = run("import", f"--live-data={file}")
        assert refused.returncode == 1 and refused.stdout == "", content
        assert "download" in refused.stderr or "after its end" in refused.stderr, content
    assert count_stored_of(stubs, site_id) == 2
    # What comes through a pipe is stored as it comes.
    piped = run("import", "--live-data=/dev/stdin", input=cuts[-2])
    assert piped.returncode == 1 and "download it again" in piped.stderr
    assert count_stored_of(stubs, site_id) == 3

    file.write_text(whole)
    again = run("import", f"--live-data={file}")
    assert again.returncode == 0, again.stderr
    assert "live_data: 3 rows: 0 stored, 3 stored before, 0 bad" in again.stdout
    columns = ["site_id", "dt_stamp", *NUMBERS, *FLAGS]
    stored = list(csv.DictReader(rest.get(url).text.splitlines()[:-1]))
    wanted = list(csv.DictReader(lines[:-1]))
    assert [[row[name] for name in columns] for row in stored] == [
        [row[name] for name in columns] for row in wanted]


def test_a_row_of_a_site_that_is_gone_does_not_keep_out_the_others(run, rest, stubs, tmp_path):
    site_id = create_site(stubs).id
    row = "2024-05-01T12:{minute}:00Z,50,0.1,0,true,false,false"
    header = "site_id,dt_stamp,soc,load_kwh,net_load_kwh,pv_notification,bio_notification,cro_notification"
    ids = [site_id, site_id + 1, site_id]
    rows = [f"{one},{row.format(minute=10 + i)}" for i, one in enumerate(ids)]
    file = tmp_path / "live-data.csv"
    file.write_text("\n".join([header, *rows, "# end 3 rows", ""]))
    result = run("import", f"--live-data={file}")
    assert result.returncode == 1
    assert f"{file}:3: " in result.stderr and f"no site has id {site_id + 1}" in result.stderr
    assert "live_data: 3 rows: 2 stored, 0 stored before, 1 bad" in result.stdout
    assert count_stored_of(stubs, site_id) == 2


@pytest.mark.one_server("about the command, which reaches nobody")
def test_a_service_that_is_not_there_is_an_error(year):
    result = subprocess.run([BINARY, "import", "--target=127.0.0.1:1", *files_of(year)],
                            capture_output=True, text=True, timeout=60)
    assert result.returncode == 1
    assert "no connection to 127.0.0.1:1" in result.stderr
