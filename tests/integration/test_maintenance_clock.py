"""Retention judges the clock before it refuses and drops what cannot be brought back."""

import grpc
import pytest

from support.calls import create_site
from support.maintenance import (
    A_YEAR, COMMAND, NOW, create, entries_of, fill, let_an_hour_pass, maintain,
    maintain_an_hour_later, month, month_tables, open_export, owner, runs, table, window,
)  # fmt: skip
from support.metrics import value
from support.process import wait_until
from support.server import migrated_cluster, run, urls

DAY = 24 * 3600
JUMPS = "energy_sites_maintenance_clock_jumps_total"


def refused(stubs, site_id, moment):
    """Whether an entry of that moment is refused as too old."""
    try:
        create(stubs, site_id, moment)
    except grpc.RpcError as error:
        assert error.code() == grpc.StatusCode.FAILED_PRECONDITION, error
        return True
    return False


def refuses_clock(database, *flags):
    """Whether the command fails because of a clock."""
    done = run("maintain", *flags, **urls(database))
    assert done.returncode in (0, 1), done.stderr
    return done.returncode == 1 and "the database's clock" in done.stderr


def set_look(database, assignment):
    database.query(f"UPDATE live_data_retention_look SET {assignment} RETURNING 1")


@pytest.mark.one_server("about a database with a clock of its own")
def test_a_clock_that_jumps_forward_drops_nothing(start_server):
    """Regression: the months were gone at once, and entries refused when the clock was right."""
    with migrated_cluster(movable_clock=True) as cluster:
        database = cluster.new_database()
        flags = ("--live_data_retention=24h", "--maintenance_interval=100ms")
        server = start_server(database, flags=flags, environment=owner(database))
        stubs = server.stubs()
        site_id = create_site(stubs).id
        stored = {create(stubs, site_id, moment).id for moment in (NOW, month(0))}

        def rounds():
            def count():
                outcomes = ("done", "postponed", "failed")
                return sum(runs(server, "past_entries", outcome) for outcome in outcomes)

            before = count()
            wait_until(lambda: count() >= before + 3, 60, "rounds of maintenance")

        rounds()
        cluster.set_clock(40 * DAY)
        rounds()
        cluster.set_clock(0)
        rounds()
        assert stored <= set(entries_of(database))
        create(stubs, site_id, NOW)
        assert value(server, JUMPS) >= 1

        # A database whose clock stays wrong beside this machine's.
        cluster.set_clock(40 * DAY)
        assert refuses_clock(database, "--live_data_retention=24h")
        let_an_hour_pass(database)
        assert refuses_clock(database, "--live_data_retention=24h")
        assert stored <= set(entries_of(database))
        server.kill()


@COMMAND
def test_a_database_whose_clock_is_ahead_forgets_no_calls():
    with migrated_cluster(movable_clock=True) as cluster:
        database = cluster.new_database()
        database.query(
            "INSERT INTO write_requests (site_id, request_id, request_hash, response)"
            " VALUES (0, gen_random_uuid(), '', '') RETURNING 1"
        )
        database.query("INSERT INTO ingest_sessions (owner, session) VALUES ('', 'a') RETURNING 1")
        cluster.set_clock(40 * DAY)
        maintain(database)
        assert database.query("SELECT 1 FROM write_requests, ingest_sessions") == [(1,)]


def test_months_are_dropped_when_due_in_two_looks_an_hour_apart(database, stubs):
    site_id = create_site(stubs).id
    create(stubs, site_id, month(-15))
    for _ in range(2):
        said = maintain(database, A_YEAR)
        assert "retention: postponed: waits until" in said and "old_months" not in said
        assert not refused(stubs, site_id, month(-15))
    let_an_hour_pass(database)
    said = maintain(database, A_YEAR)
    assert "retention: refuses entries before" in said and "old_months: dropped" in said
    assert refused(stubs, site_id, month(-15))
    assert maintain(database, A_YEAR) == "maintain: done\n"


def test_another_retention_waits_anew(database, stubs):
    create(stubs, create_site(stubs).id, month(-15))
    for flag in (A_YEAR, "--live_data_retention=8761h", A_YEAR):
        said = maintain(database, flag)
        assert "retention: postponed: waits until" in said and "dropped" not in said
        let_an_hour_pass(database)
    assert "dropped" in maintain(database, A_YEAR)


@pytest.mark.parametrize(
    "jump",
    ["database_time = database_time - interval '2 hours'",
     "database_time = database_time + interval '2 hours'",
     "boot_seconds = boot_seconds - 7200",
     "(boot_id, database_time) = ('another', database_time + interval '2 hours')"],
    ids=["forward", "back", "machine", "another machine"],
)  # fmt: skip
def test_a_jump_between_two_looks_starts_the_wait_anew(database, stubs, jump):
    create(stubs, create_site(stubs).id, month(-15))
    maintain(database, A_YEAR)
    set_look(database, jump)
    assert refuses_clock(database, A_YEAR)
    assert window(database)[1] is None
    assert "dropped" in maintain_an_hour_later(database, A_YEAR)


@COMMAND
def test_a_look_on_another_machine_counts(database):
    """So a restart, or a pod on another node each day, does not stop retention."""
    maintain(database, A_YEAR)
    set_look(
        database, "(boot_id, database_time) = ('another', database_time - interval '24 hours')"
    )
    assert "retention: refuses entries before" in maintain(database, A_YEAR)


def test_the_cutoff_goes_back_to_what_was_not_dropped(database, stubs):
    site_id = create_site(stubs).id
    for moment in (month(-15), month(-14)):
        create(stubs, site_id, moment)
    fill(database, site_id, month(-15), 100_000)
    with open_export(database) as finish:
        assert "old_months: postponed" in maintain_an_hour_later(database, A_YEAR)
        assert refused(stubs, site_id, month(-15)) and refused(stubs, site_id, month(-14))
        said = maintain(database, "--live_data_retention=87600h")
        assert f"retention: accepts entries from {month(-14):%Y-%m-%d} on again" in said
        assert refused(stubs, site_id, month(-15)) and not refused(stubs, site_id, month(-14))
        assert finish() == 100_002
    # The month that an export kept is dropped; the other one is as it was.
    assert f'old_months: dropped "{table(month(-15))}"' in maintain(database)
    assert table(month(-14)) in month_tables(database)
    assert len(entries_of(database)) == 2
    counts = database.query(
        "SELECT entries FROM live_data_rollups WHERE bucket >= %s", [month(-14)]
    )
    assert counts == [(2,)]


def test_a_server_of_the_version_before_moves_the_cutoff_for_good(database, stubs):
    """It runs beside the new schema during an upgrade, and does not look at the clock."""
    site_id = create_site(stubs).id
    create(stubs, site_id, month(-3))
    maintain(database)
    with database.connect(database.owner_url) as connection:
        assert connection.execute(
            "SELECT refuse_live_data_before(%s)", [month(-2)]
        ).fetchone() == (True,)
    assert "accepts" not in maintain(database, A_YEAR)
    assert window(database)[1] == month(-2)
    assert refused(stubs, site_id, month(-3)) and refused(stubs, site_id, month(-4))
