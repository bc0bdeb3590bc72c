"""The command `maintain`, and the effects of the maintenance of live data in a database."""

import contextlib
import datetime

import psycopg
import pytest

from support.calls import create_entry, stamp
from support.metrics import counted
from support.server import run, urls

COMMAND = pytest.mark.one_server("about the command, which calls nobody")
A_YEAR = "--live_data_retention=8760h"
UTC = datetime.timezone.utc
NOW = datetime.datetime.now(UTC)


def month(ahead):
    """The start of the month that is so many months ahead."""
    months = NOW.year * 12 + NOW.month - 1 + ahead
    return datetime.datetime(months // 12, months % 12 + 1, 1, tzinfo=UTC)


def table(moment):
    return f"live_data_{moment:%Y_%m}"


def maintain(database, *flags):
    """Runs the command once and returns its output."""
    done = run("maintain", *flags, **urls(database))
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def let_an_hour_pass(database):
    """Makes the stored first check of retention an hour older; returns whether there is one."""
    return database.query(
        "UPDATE live_data_retention_look SET boot_seconds = boot_seconds - 3600,"
        " database_time = database_time - interval '1 hour' RETURNING 1"
    ) != []


def maintain_an_hour_later(database, *flags):
    """Runs the command for the first check of retention, and again an hour later on all clocks."""
    assert "retention: postponed: waits until" in maintain(database, *flags)
    let_an_hour_pass(database)
    return maintain(database, *flags)


def owner(database):
    return {"MIGRATE_DATABASE_URL": database.owner_url}


def partitions(database):
    """The partitions of live_data and live_data_future."""
    rows = database.query(
        "SELECT relid::text FROM pg_partition_tree('live_data') WHERE isleaf ORDER BY relid::text"
    )
    return {name for (name,) in rows}


def month_tables(database):
    """All tables of months, whether attached or not."""
    rows = database.query(
        r"SELECT relname FROM pg_class WHERE relkind = 'r' AND relname ~ '^live_data_\d{4}_\d{2}$'"
    )
    return {name for (name,) in rows}


def window(database):
    """The end of the window and the time from which on entries are accepted."""
    return database.query(
        "SELECT end_month, nullif(refused_before, '-infinity') FROM live_data_window"
    )[0]


def drop_months_before(database, moment):
    """The final step of retention, without its waits."""
    maintain(database)  # There must be no stale buckets.
    with database.connect(database.owner_url) as connection:
        refused = connection.execute("SELECT refuse_live_data_before(%s)", [moment])
        assert refused.fetchone() == (True,)
        for name in sorted(month_tables(database)):
            if name < table(moment):
                connection.execute(f"DROP TABLE {name}")


def put_window_back(database, end):
    """Changes the window of the database to end at `end`, as if it had not moved for a long time."""
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
    return create_entry(stubs, site_id, dt_stamp=stamp(int(moment.timestamp())), **changes)


def entries_of(database):
    """Each entry as stored, with its writing transaction and its partition."""
    rows = database.query("SELECT id, tableoid::regclass::text, e::text FROM live_data AS e")
    return {row[0]: row[1:] for row in rows}


def rollups(database):
    return database.query("SELECT r::text FROM live_data_rollups AS r ORDER BY site_id, bucket")


def runs(service, step, outcome):
    name = "energy_sites_maintenance_runs_total"
    return counted(service.instances(), name, step=step, outcome=outcome)


@contextlib.contextmanager
def open_export(database):
    """A COPY of all live data that stays open; yields a function that reads the rest."""
    with psycopg.connect(database.app_url) as connection, connection.cursor() as cursor:
        with cursor.copy("COPY (SELECT id FROM live_data) TO STDOUT") as copy:
            parts = [bytes(copy.read())]

            def finish():
                parts.extend(bytes(part) for part in copy)
                return sum(part.count(b"\n") for part in parts)

            yield finish


def fill(database, site_id, moment, rows):
    """More entries than a socket buffer can hold, so that an open export stays open."""
    database.query(
        "INSERT INTO live_data (id, site_id, dt_stamp, soc, load_kwh, net_load_kwh,"
        " pv_notification, bio_notification, cro_notification)"
        " SELECT n, %s, %s + n * interval '1 second', 50, 1, 1, true, true, true"
        " FROM generate_series(1, %s) AS n RETURNING 1",
        [site_id, moment, rows],
    )
