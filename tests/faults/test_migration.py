"""The schema of the next version comes under load, while servers of this one run."""

import subprocess

import pytest
from history import check
from load import Load
from moments import is_serving

from support.calls import create_site
from support.postgres import APP
from support.process import BUILD
from support.server import migrate

# What a migration of the next version may be: it only adds.
NEXT = """
ALTER TABLE sites ADD COLUMN note text NOT NULL DEFAULT '';
ALTER TABLE live_data ADD COLUMN quality smallint;
CREATE TABLE site_notes (site_id bigint REFERENCES sites ON DELETE CASCADE, note text);
"""


def test_the_next_schema_comes_under_load(server, stubs, start_server, database, report):
    sites = [create_site(stubs).id for _ in range(3)]
    with Load(server.address, sites) as load:
        load.wait_acknowledged(20)
        done = subprocess.run([BUILD / "tests/migrate_further", database.owner_url, APP], input=NEXT,
                              capture_output=True, text=True, check=False)  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        load.wait_acknowledged(20)
        assert is_serving(stubs)
        # One more of this version, as when an upgrade is taken back; both serve.
        other = start_server(database)
        with Load(other.address, sites, first_number=10**6) as beside:
            beside.wait_acknowledged(20)
            load.wait_acknowledged(20)
    calls = [*load.history, *beside.history]
    report.outcomes(check(calls, database))
    failures = [failure for call in calls for failure in call.failures]
    assert not failures, failures[:3]
    with pytest.raises(RuntimeError, match="newer than the program"):
        migrate(database)
