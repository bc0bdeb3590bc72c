"""The two roles of the database."""

import contextlib

import psycopg

from support.calls import create_entry, create_site


def test_what_the_app_role_may_not_do(stubs, database):
    """The server runs with the app role alone; this is what someone who steals it cannot do."""
    site_id = create_site(stubs).id
    create_entry(stubs, site_id)
    roles = database.query(
        "SELECT DISTINCT usename FROM pg_stat_activity WHERE datname = current_database()"
        " AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
    )
    assert roles == [("energy_sites",)]
    forbidden = [
        "CREATE TABLE mine (id int)",
        "CREATE SCHEMA mine",
        "DROP TABLE live_data",
        "DROP TABLE live_data_past",
        "ALTER TABLE sites ADD COLUMN mine int",
        "ALTER TABLE sites DISABLE TRIGGER ALL",
        "TRUNCATE live_data",
        "UPDATE live_data_window SET first_month = '-infinity'",
        "INSERT INTO schema_migrations SELECT * FROM schema_migrations",
        "UPDATE schema_migrations SET version = 99",
        "DELETE FROM schema_migrations",
        "CREATE OR REPLACE FUNCTION make_live_data_month(timestamptz) RETURNS void"
        " LANGUAGE sql AS ''",
        "SET ROLE energy_sites_owner",
        "COPY sites TO '/tmp/x'",
        "COPY sites FROM PROGRAM 'id'",
        "SELECT setval('live_data_numbers', 1)",
    ]
    with database.connect(database.app_url) as connection:
        for statement in forbidden:
            with contextlib.suppress(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement)
                raise AssertionError(f"allowed: {statement}")
        # The one function that makes tables makes no more than the window holds.
        for stamp in ("0001-01-01", "9999-12-31", "1850-05-05", "-infinity", "infinity"):
            connection.execute("SELECT make_live_data_month(%s)", [stamp])
    partitions = database.query(
        "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'live_data'::regclass"
    )
    assert {"live_data_past", "live_data_future", "live_data_2016_06"} == {
        name for (name,) in partitions
    }
