"""Months made and dropped, rollups refolded, old memories forgotten; beside all other work."""

import concurrent.futures
import contextlib
import datetime
import re
import subprocess
import threading
import time

import grpc
import psycopg
import pytest
import requests
from energysites.v1 import live_data_pb2, sites_pb2

from support.calls import create_site, entry, fail, new_uuid, stamp
from support.process import wait_until
from support.server import BINARY

PROCESSES = pytest.mark.one_server("about processes beside each other, which nobody calls")
COMMAND = pytest.mark.one_server("about the command, which calls nobody")
A_YEAR = "--live_data_retention=8760h"
UTC = datetime.timezone.utc
NOW = datetime.datetime.now(UTC)


def month(ahead):
    """The begin of the month that lies so many months ahead."""
    months = NOW.year * 12 + NOW.month - 1 + ahead
    return datetime.datetime(months // 12, months % 12 + 1, 1, tzinfo=UTC)


def table(moment):
    return f"live_data_{moment:%Y_%m}"


def maintain(database, *flags):
    """Runs the command once and returns what it says it did."""
    done = subprocess.run(
        [BINARY, "maintain", *flags],
        env={"DATABASE_URL": database.app_url, "MIGRATE_DATABASE_URL": database.owner_url},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def owner(database):
    return {"MIGRATE_DATABASE_URL": database.owner_url}


def partitions(database):
    """What live_data and live_data_future consist of."""
    rows = database.query(
        "SELECT relid::text FROM pg_partition_tree('live_data') WHERE isleaf ORDER BY relid::text"
    )
    return {name for (name,) in rows}


def month_tables(database):
    """All tables of months, attached or not."""
    rows = database.query(
        r"SELECT relname FROM pg_class WHERE relkind = 'r' AND relname ~ '^live_data_\d{4}_\d{2}$'"
    )
    return {name for (name,) in rows}


def window(database):
    """Where the window's end is, and from when on entries are kept."""
    return database.query(
        "SELECT end_month, nullif(kept_from, '-infinity') FROM live_data_window"
    )[0]


def put_window_back(database, end):
    """Makes it a database whose window was last moved so long ago that it ends at `end`."""
    with psycopg.connect(database.superuser_url) as connection:
        connection.execute("ALTER TABLE live_data DETACH PARTITION live_data_future")
        connection.execute("ALTER TABLE live_data_future DETACH PARTITION live_data_far_future")
        for parent, child in (("live_data_future", "live_data_far_future"),
                              ("live_data", "live_data_future")):  # fmt: skip
            connection.execute(
                f"ALTER TABLE {parent} ATTACH PARTITION {child}"
                f" FOR VALUES FROM ('{end.isoformat()}') TO (MAXVALUE)"
            )
        connection.execute("UPDATE live_data_window SET (end_month, future_from) = (%s, %s)",
                           [end, end])  # fmt: skip


def create(stubs, site_id, moment, **changes):
    request = live_data_pb2.CreateLiveDataEntryRequest(
        live_data_entry=entry(site_id, dt_stamp=stamp(int(moment.timestamp())), **changes)
    )
    return stubs.live_data.CreateLiveDataEntry(request, timeout=30)


def get(stubs, one):
    request = live_data_pb2.GetLiveDataEntryRequest(site_id=one.site_id, id=one.id)
    return stubs.live_data.GetLiveDataEntry(request, timeout=30)


def entries_of(database):
    """Each entry as it lies in the database, with its writer, and where."""
    rows = database.query("SELECT id, tableoid::regclass::text, e::text FROM live_data AS e")
    return {row[0]: row[1:] for row in rows}


def rollups(database):
    return database.query("SELECT r::text FROM live_data_rollups AS r ORDER BY site_id, bucket")


def pending(database):
    return database.query("SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhdetachpending")


def metric(service, name, **labels):
    """The value of a metric over all instances, 0 if it has not been counted yet."""
    return sum(metric_of_one(one, name, labels) for one in service.instances())


def metric_of_one(server, name, labels):
    text = requests.get(f"{server.admin_url}/metrics", timeout=5).text
    for found, value in re.findall(rf"^{name}(?:{{(.*)}})? (\S+)$", text, re.MULTILINE):
        if dict(re.findall(r'(\w+)="([^"]*)"', found)) == labels:
            return float(value)
    return 0


def advisory_locks(database):
    """The backends that lead something."""
    rows = database.query(
        "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted"
        " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    )
    return {pid for (pid,) in rows}


def runs(service, step, outcome):
    return metric(service, "energy_sites_maintenance_runs_total", step=step, outcome=outcome)


@contextlib.contextmanager
def open_export(database):
    """A COPY of all live data that goes on until it is read; yields what reads the rest of it."""
    with psycopg.connect(database.app_url) as connection, connection.cursor() as cursor:
        with cursor.copy("COPY (SELECT id FROM live_data) TO STDOUT") as copy:
            parts = [bytes(copy.read())]

            def finish():
                parts.extend(bytes(part) for part in copy)
                return sum(part.count(b"\n") for part in parts)

            yield finish


def fill(database, site_id, moment, rows):
    """More entries than a socket holds, so that an open export stays open."""
    database.query(
        "INSERT INTO live_data (id, site_id, dt_stamp, soc, load_kwh, net_load_kwh,"
        " pv_notification, bio_notification, cro_notification)"
        " SELECT n, %s, %s + n * interval '1 second', 50, 1, 1, true, true, true"
        " FROM generate_series(1, %s) AS n RETURNING 1",
        [site_id, moment, rows],
    )


@COMMAND
def test_months_are_made_ahead(database):
    ahead = {table(month(n)) for n in range(4)}
    assert not ahead & partitions(database)
    assert "months_ahead: made" in maintain(database)
    assert partitions(database) == ahead | {"live_data_past", "live_data_far_future"}
    assert maintain(database) == "maintain: done\n"


def test_the_window_moves_on_with_the_entries_beyond_it(database, start_service):
    """The server was not looked after for two and a half years."""
    put_window_back(database, month(-6))
    stubs = start_service(database).stubs()
    site_id = create_site(stubs).id
    moments = [month(-7), month(-6), NOW, month(1) - datetime.timedelta(seconds=1), month(1),
               month(24) - datetime.timedelta(seconds=1), month(24), month(500)]  # fmt: skip
    stored = [create(stubs, site_id, moment) for moment in moments]
    before = entries_of(database)
    assert [before[one.id][0] for one in stored] == (
        [table(month(-7))] + ["live_data_far_future"] * 7
    )

    assert f"window: moved the window on, its last month is that of {month(23):%Y-%m-%d}" in (
        maintain(database)
    )
    assert window(database) == (month(24), None)
    after = entries_of(database)
    places = [*map(table, moments[:6]), "live_data_far_future", "live_data_far_future"]
    assert [after[one.id][0] for one in stored] == places
    assert {key: row[1] for key, row in after.items()} == {
        key: row[1] for key, row in before.items()
    }
    assert [get(stubs, one) for one in stored] == stored
    for moment in moments:
        create(stubs, site_id, moment)
    assert "window" not in maintain(database)
    # Nothing of the moving stays behind.
    assert database.query(
        "SELECT count(*) FROM pg_constraint WHERE confrelid = 'sites'::regclass AND conparentid = 0"
        " AND conrelid::regclass::text LIKE 'live_data_2%%'"
    ) == [(0,)]


@COMMAND
def test_the_window_waits_for_who_uses_the_future(database):
    put_window_back(database, month(20))
    with database.connect(database.app_url) as connection, connection.transaction():
        connection.execute("SELECT 1 FROM live_data WHERE dt_stamp > %s", [month(100)])
        assert "window: put off" in maintain(database)
        assert window(database)[0] == month(20)
    assert "window: moved" in maintain(database)
    assert window(database)[0] == month(24)


def test_old_months_are_dropped_and_their_rollups_kept(database, start_service):
    knows_months = start_service(database).stubs()
    site_id = create_site(knows_months).id
    old = [create(knows_months, site_id, moment) for moment in
           (datetime.datetime(1900, 1, 1, tzinfo=UTC), month(-30), month(-13))]  # fmt: skip
    kept = [create(knows_months, site_id, moment) for moment in (month(-11), NOW)]
    maintain(database)
    sums = rollups(database)
    assert len(sums) == 5
    # One entry more, so that there is something to refold at the last moment.
    old.append(create(knows_months, site_id, month(-13), soc=1))

    # The month that is a year old to the day is not wholly older.
    said = maintain(database, A_YEAR)
    assert "retention: refused" in said and "old_months: dropped" in said
    assert "past_entries: deleted 1 entries" in said
    assert window(database)[1] in (month(-12), month(-11))
    assert set(entries_of(database)) == {one.id for one in kept}
    assert month_tables(database) == {table(m) for m in (month(-11), *map(month, range(4)))}
    frozen = rollups(database)
    assert len(frozen) == 5 and frozen != sums
    assert database.query("SELECT entries FROM live_data_rollups WHERE soc_min = 1") == [(2,)]
    assert database.query("SELECT * FROM live_data_dirty_buckets") == []

    for stubs in (knows_months, start_service(database).stubs()):
        for one in old:
            request = live_data_pb2.CreateLiveDataEntryRequest(
                live_data_entry=entry(site_id, dt_stamp=one.dt_stamp)
            )
            failure = fail(stubs.live_data.CreateLiveDataEntry, request)
            assert failure.code == "FAILED_PRECONDITION", failure
            assert failure.reason == "ENTRY_NO_LONGER_KEPT"
            assert fail(
                stubs.live_data.GetLiveDataEntry,
                live_data_pb2.GetLiveDataEntryRequest(site_id=site_id, id=one.id),
            ).code == "NOT_FOUND"
        batch = live_data_pb2.BatchCreateLiveDataEntriesRequest(
            entries=[entry(site_id, dt_stamp=one.dt_stamp) for one in (kept[0], *old, kept[1])]
        )
        failure = fail(stubs.live_data.BatchCreateLiveDataEntries, batch)
        assert failure.code == "FAILED_PRECONDITION", failure
        assert failure.reason == "ENTRY_NO_LONGER_KEPT"
        batch.return_partial_success = True
        answer = stubs.live_data.BatchCreateLiveDataEntries(batch, timeout=30)
        assert len(answer.live_data_entries) == 2
        assert sorted(answer.failed_requests) == [1, 2, 3, 4]
        assert {status.code for status in answer.failed_requests.values()} == {
            grpc.StatusCode.FAILED_PRECONDITION.value[0]
        }
        assert create(stubs, site_id, NOW)
    # Neither a run without the flag nor one that keeps more brings anything back.
    maintain(database)
    maintain(database, "--live_data_retention=87600h")
    assert month(-13) < window(database)[1]
    assert rollups(database)[:3] == frozen[:3]


def test_an_entry_on_its_way_is_in_the_rollup_or_refused(database, stubs):
    """Writers of a month meet its end: each entry is counted for ever, or its writer is told."""
    site_id = create_site(stubs).id
    create(stubs, site_id, month(-20))
    stored = [1]
    refused = threading.Event()

    def write():
        while not refused.is_set():
            try:
                create(stubs, site_id, month(-20))
                stored[0] += 1
            except grpc.RpcError as error:
                assert error.code() == grpc.StatusCode.FAILED_PRECONDITION, error
                refused.set()

    with concurrent.futures.ThreadPoolExecutor(1) as threads:
        writer = threads.submit(write)
        wait_until(lambda: stored[0] > 20, 20, "some entries")
        wait_until(lambda: "dropped" in maintain(database, A_YEAR), 30, "the month to be dropped")
        writer.result(timeout=30)
    assert database.query("SELECT sum(entries) FROM live_data_rollups") == [(stored[0],)]


def test_a_detachment_that_was_cut_off_is_finished(database, stubs):
    site_id = create_site(stubs).id
    for moment in (month(-15), month(-14)):
        create(stubs, site_id, moment)
    fill(database, site_id, month(-15), 100_000)
    with open_export(database) as finish:
        said = maintain(database, A_YEAR)
        assert "old_months: put off" in said
        assert pending(database) == [(table(month(-15)),)]
        # Gone for those who come later, and there for who reads it.
        assert len(entries_of(database)) == 1
        said = maintain(database, A_YEAR)
        assert "old_months: put off" in said
        assert {table(month(-15)), table(month(-14))} <= month_tables(database)
        assert finish() == 100_002
    assert "old_months: dropped" in maintain(database)
    assert pending(database) == []
    assert not {table(month(-15)), table(month(-14))} & month_tables(database)


def test_a_month_that_was_detached_and_not_dropped_is_dropped(database, stubs):
    create(stubs, create_site(stubs).id, month(-15))
    with database.connect(database.owner_url) as connection:
        maintain(database)
        connection.execute("SELECT refuse_live_data_before(%s)", [month(-1)])
        old = table(month(-15))
        connection.execute(f"ALTER TABLE live_data DETACH PARTITION {old} CONCURRENTLY")
    assert f'old_months: dropped "{old}"' in maintain(database)
    assert old not in month_tables(database)


class Load:
    """Callers of all kinds, each in a thread, who remember the worst."""

    def __init__(self, stubs, site_id):
        self.slowest = 0
        self.calls = 0
        self.failures = []
        self._stubs = stubs
        self._site_id = site_id
        self._stop = threading.Event()
        kinds = [self._create, self._create, self._batch, self._list, self._list_all, self._site]
        self._threads = [threading.Thread(target=self._repeat, args=(kind,)) for kind in kinds]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _repeat(self, call):
        while not self._stop.is_set():
            start = time.monotonic()
            try:
                call()
            except grpc.RpcError as error:
                self.failures.append((call.__name__, error.code(), error.details()))
            self.slowest = max(self.slowest, time.monotonic() - start)
            self.calls += 1

    def _create(self):
        create(self._stubs, self._site_id, NOW)

    def _batch(self):
        stamps = [NOW, month(-1), month(30)]
        self._stubs.live_data.BatchCreateLiveDataEntries(
            live_data_pb2.BatchCreateLiveDataEntriesRequest(
                entries=[entry(self._site_id, dt_stamp=stamp(int(moment.timestamp())))
                         for moment in stamps]
            ),
            timeout=30,
        )  # fmt: skip

    def _list(self):
        self._stubs.live_data.ListLiveDataEntries(
            live_data_pb2.ListLiveDataEntriesRequest(site_id=self._site_id), timeout=30
        )

    def _list_all(self):
        self._stubs.live_data.ListLiveDataEntries(
            live_data_pb2.ListLiveDataEntriesRequest(order_by="dt_stamp"), timeout=30
        )

    def _site(self):
        made = create_site(self._stubs)
        create(self._stubs, made.id, NOW)
        self._stubs.sites.DeleteSite(sites_pb2.DeleteSiteRequest(id=made.id), timeout=30)


def test_all_goes_on_under_ingest_and_an_open_export(database, start_service):
    # Where live data is read at once by everyone: the export holds on to every partition.
    put_window_back(database, month(-2))
    first = start_service(database, flags=("--maintenance_interval=100ms",))
    writer = first.stubs()
    site_id = create_site(writer).id
    for moment in (month(-15), month(-14), NOW, month(3)):
        create(writer, site_id, moment)
    fill(database, site_id, month(-15), 100_000)
    with contextlib.ExitStack() as export:
        finish = export.enter_context(open_export(database))
        stream = writer.live_data.ExportLiveData(live_data_pb2.ExportLiveDataRequest(), timeout=60)
        exported = next(stream).entry_count
        second = start_service(
            database, flags=(A_YEAR, "--maintenance_interval=100ms"), environment=owner(database)
        )
        with Load(second.stubs(), site_id) as load:
            for step in ("window", "old_months"):
                wait_until(lambda: runs(second, step, "put_off") >= 3, 60, f"{step} to be put off")
            # All but what the export holds on to.
            wait_until(lambda: runs(second, "retention", "done") >= 3, 60, "retention to be done")
            for step in ("rollups", "request_ids", "ingest_sessions"):
                before = runs(first, step, "done")
                wait_until(lambda: runs(first, step, "done") >= before + 3, 60, f"{step}")
            assert finish() == 100_004
            exported += sum(answer.entry_count for answer in stream)
            assert exported >= 100_004
            assert {table(month(-15)), table(month(-14))} <= month_tables(database)
            calls_before = load.calls

            # The rest of it, once the export is over.
            export.close()
            wait_until(lambda: window(database)[0] == month(24), 60, "the window to move on")
            wait_until(
                lambda: not {table(month(-15)), table(month(-14))} & month_tables(database),
                60, "the old months to be dropped",
            )  # fmt: skip
            wait_until(lambda: load.calls > calls_before + 20, 60, "calls after it")
    assert load.failures == []
    assert load.slowest < 5
    assert runs(second, "window", "failed") + runs(second, "old_months", "failed") == 0
    # What was moved by the way is where it belongs.
    places = {place for place, _ in entries_of(database).values()}
    assert places == {table(month(-1)), table(NOW), table(month(3)), "live_data_far_future"}


@PROCESSES
def test_one_process_leads_and_another_takes_over(database, start_server):
    flags = ("--maintenance_interval=100ms",)
    servers = [start_server(database, flags=flags, environment=owner(database)) for _ in range(2)]

    def leaders(work):
        return [one for one in servers
                if metric(one, "energy_sites_maintenance_leader", work=work)]  # fmt: skip

    for work in ("rows", "tables"):
        wait_until(lambda: leaders(work), 20, "a leader")
    (leader,) = leaders("tables")
    (other,) = (one for one in servers if one is not leader)
    wait_until(lambda: runs(leader, "window", "done") > 5, 20, "rounds of the leader")
    assert len(leaders("rows")) == len(leaders("tables")) == 1
    assert runs(other, "window", "done") == 0
    servers.remove(leader)
    leader.kill()
    for work in ("rows", "tables"):
        wait_until(lambda: leaders(work) == [other], 20, "the other one to lead")
    wait_until(lambda: runs(other, "window", "done") > 0, 20, "a round of the other one")
    # A leader that loses its connection is none any more, until it leads on a new one.
    lost = advisory_locks(database)
    assert len(lost) == 2
    database.query("SELECT pg_terminate_backend(pid) FROM unnest(%s::int[]) AS pid", [list(lost)])
    wait_until(
        lambda: len(advisory_locks(database) - lost) == 2, 20, "both locks on new connections"
    )


@PROCESSES
def test_the_command_works_beside_a_server_that_leads(database, start_server):
    server = start_server(database, environment=owner(database))
    leads = lambda: metric(server, "energy_sites_maintenance_leader", work="tables")  # noqa: E731
    wait_until(leads, 20, "the server to lead")
    put_window_back(database, month(20))
    assert "window: moved" in maintain(database)


def test_a_server_without_the_owner_maintains_rows_only(database, start_service):
    service = start_service(database, flags=("--maintenance_interval=100ms",))
    wait_until(lambda: runs(service, "rollups", "done") > 3, 20, "rounds")
    assert runs(service, "window", "done") == 0
    stubs = service.stubs()
    create(stubs, create_site(stubs).id, NOW)
    wait_until(lambda: len(rollups(database)) == 1, 20, "the rollup")
    assert table(month(1)) not in partitions(database)


def test_what_waits_to_be_refolded_is_told(database, start_service):
    services = [start_service(database, flags=("--maintenance_interval=100ms",)) for _ in range(2)]
    servers = [one for service in services for one in service.instances()]
    nothing = [0] * len(servers)

    def told():
        return sorted(
            metric(one, "energy_sites_maintenance_waiting", step="rollups") for one in servers
        )

    wait_until(lambda: any(runs(one, "rollups", "done") for one in servers), 20, "a leader")
    stubs = services[0].stubs()
    site_id = create_site(stubs).id
    with database.connect() as connection, connection.transaction():
        # Another refolding that takes long.
        connection.execute(
            "SELECT pg_advisory_xact_lock(hashtextextended('energy-sites:rollups', 0))"
        )
        for minutes in (0, 0, 1, 15, 30):
            create(stubs, site_id, month(-1) + datetime.timedelta(minutes=minutes))
        wait_until(lambda: told() == [*nothing[1:], 3], 20, "the leader to tell of three buckets")
    wait_until(lambda: told() == nothing and len(rollups(database)) == 3, 20, "they are refolded")


@PROCESSES
def test_a_server_whose_maintenance_fails_is_healthy(database, start_server):
    server = start_server(
        database,
        flags=("--maintenance_interval=100ms",),
        environment={"MIGRATE_DATABASE_URL": database.owner_url.replace("owner:", "owner:not")},
    )
    wait_until(lambda: runs(server, "leader", "failed") > 1, 20, "failures to be counted")
    assert server.admin_answers("readyz")
    assert "maintenance failed" in server.log.read_text()
    # And ends as soon as it is told.
    start = time.monotonic()
    assert server.stop() == 0
    assert time.monotonic() - start < 5


@COMMAND
def test_what_is_old_is_forgotten(database):
    ages = {"8 days": False, "169 hours": False, "167 hours": True, "1 minute": True}
    ids = {age: new_uuid() for age in ages}
    for age, request_id in ids.items():
        database.query(
            "INSERT INTO write_requests (site_id, request_id, request_hash, response, create_time)"
            " VALUES (0, %s, '', '', now() - %s::interval) RETURNING 1",
            (request_id, age),
        )
        database.query(
            "INSERT INTO ingest_sessions (owner, session, update_time)"
            " VALUES ('', %s, now() - %s::interval) RETURNING 1",
            (request_id, age),
        )
        database.query(
            "INSERT INTO ingest_refusals (owner, session, sequence, refused, failed_count)"
            " VALUES ('', %s, 1, '', 1) RETURNING 1",
            (request_id,),
        )
    said = maintain(database)
    assert "request_ids: forgot request_ids: 2" in said
    assert "ingest_sessions: forgot ingest sessions: 2" in said
    young = sorted(ids[age] for age, kept in ages.items() if kept)
    for column, name in (("request_id", "write_requests"), ("session", "ingest_sessions"),
                         ("session", "ingest_refusals")):  # fmt: skip
        rows = database.query(f"SELECT {column}::text FROM {name} ORDER BY 1")
        assert [row[0] for row in rows] == young
    maintain(database, "--request_id_ttl=1s", "--ingest_session_ttl=1s")
    assert database.query("SELECT 1 FROM write_requests, ingest_sessions") == []


@COMMAND
@pytest.mark.parametrize("flags, code", [(("--live_data_retention=1h",), 1), (("--nonsense",), 1)])
def test_nonsense_is_refused(database, flags, code):
    done = subprocess.run(
        [BINARY, "maintain", *flags],
        env={"MIGRATE_DATABASE_URL": database.owner_url},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == code and flags[0].split("=")[0].strip("-") in done.stderr
