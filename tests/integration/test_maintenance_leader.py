"""Servers that maintain: one of them leads, and all go on where it cannot."""

import contextlib
import datetime
import time

import pytest

from support.calls import create_site
from support.maintenance import (
    A_YEAR, NOW, create, maintain, maintain_an_hour_later, month, month_tables, owner, partitions,
    put_window_back, rollups, runs, table,
)  # fmt: skip
from support.metrics import counted
from support.process import wait_until

PROCESSES = pytest.mark.one_server("about processes beside each other, which nobody calls")


def leads(server, work):
    return counted([server], "energy_sites_maintenance_leader", work=work)


def advisory_locks(database):
    """The backends that lead something."""
    rows = database.query(
        "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted"
        " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    )
    return {pid for (pid,) in rows}


@PROCESSES
def test_one_process_leads_and_another_takes_over(database, start_server):
    flags = ("--maintenance_interval=100ms",)
    servers = [start_server(database, flags=flags, environment=owner(database)) for _ in range(2)]

    def leaders(work):
        return [one for one in servers if leads(one, work)]

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


def leader_of_tables(database):
    """The backend that leads that work."""
    return database.query(
        "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted"
        " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        " AND (classid::bigint << 32) | objid::bigint"
        "     = hashtextextended('energy-sites:maintenance:tables', 0)"
    )


@PROCESSES
def test_a_connection_lost_after_a_month_was_dropped_ends_the_lead(database, start_server):
    """Regression: the step succeeded, and the server went on without the lock of the leader."""
    stubs = start_server(database).stubs()
    site_id = create_site(stubs).id
    for moment in (month(-15), month(-14)):
        create(stubs, site_id, moment)
    with contextlib.ExitStack() as blocked, database.connect() as reader, reader.transaction():
        dropping = blocked.enter_context(database.connect())
        dropping.execute("SELECT pg_advisory_lock(hashtextextended('energy-sites:drop-months', 0))")
        assert "old_months: postponed" in maintain_an_hour_later(database, A_YEAR)
        reader.execute(f"LOCK TABLE {table(month(-14))} IN ACCESS SHARE MODE")
        server = start_server(
            database, flags=(A_YEAR, "--maintenance_interval=100ms"), environment=owner(database)
        )
        wait_until(lambda: runs(server, "old_months", "postponed"), 20, "the lead of the server")
        lost = leader_of_tables(database)
        blocked.close()
        detaching = (
            "SELECT 1 FROM pg_stat_activity WHERE pid = %s AND wait_event_type = 'Lock'"
            " AND query LIKE '%%DETACH%%'"
        )
        wait_until(
            lambda: table(month(-15)) not in month_tables(database)
            and database.query(detaching, lost[0]),
            20, "the second month to be detached",
        )  # fmt: skip
        database.query("SELECT pg_terminate_backend(%s)", lost[0])
        wait_until(
            lambda: leader_of_tables(database) not in ([], lost), 20, "the lock on a new connection"
        )
        wait_until(lambda: leads(server, "tables"), 20, "the server to lead again")


@PROCESSES
def test_the_command_works_beside_a_server_that_leads(database, start_server):
    server = start_server(database, environment=owner(database))
    wait_until(lambda: leads(server, "tables"), 20, "the server to lead")
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


def test_what_waits_to_be_recomputed_is_reported(database, start_service):
    services = [start_service(database, flags=("--maintenance_interval=100ms",)) for _ in range(2)]
    servers = [one for service in services for one in service.instances()]
    nothing = [0] * len(servers)

    def told():
        waiting = "energy_sites_maintenance_waiting"
        return sorted(counted([one], waiting, step="rollups") for one in servers)

    wait_until(lambda: any(runs(one, "rollups", "done") for one in services), 20, "a leader")
    stubs = services[0].stubs()
    site_id = create_site(stubs).id
    with database.connect() as connection, connection.transaction():
        # Another recomputation that takes long.
        connection.execute(
            "SELECT pg_advisory_xact_lock(hashtextextended('energy-sites:rollups', 0))"
        )
        for minutes in (0, 0, 1, 15, 30):
            create(stubs, site_id, month(-1) + datetime.timedelta(minutes=minutes))
        wait_until(lambda: told() == [*nothing[1:], 3], 20, "the leader to tell of three buckets")
    wait_until(lambda: told() == nothing and len(rollups(database)) == 3, 20, "they are recomputed")


@PROCESSES
def test_a_server_whose_maintenance_fails_is_healthy(database, start_server):
    server = start_server(
        database,
        flags=("--maintenance_interval=100ms",),
        environment={"MIGRATE_DATABASE_URL": database.owner_url.replace("owner:", "owner:not")},
    )
    wait_until(lambda: runs(server, "leader", "failed") > 1, 20, "failures to be counted")
    assert server.admin_answers("readyz")
    wait_until(lambda: "maintenance failed" in server.log_text(), 10, "a failure to be logged")
    # And ends as soon as it is told.
    start = time.monotonic()
    assert server.stop() == 0
    assert time.monotonic() - start < 5
