"""The next version comes under load: its schema, then its servers, while those of this one run."""

import pytest
from history import check
from load import Load
from moments import is_serving

from support.calls import create_site
from support.process import BUILD, wait_until
from support.server import Server, migrate


class NextServer(Server):
    """Of the next version: it has a migration more."""

    binary = BUILD / "tests/energy-sites-next"


@pytest.fixture
def next_server(database, tmp_path):
    """One that has been started before its schema was there."""
    server = NextServer(database, tmp_path, ready=False)
    yield server
    server.kill()


def test_the_next_version_comes_under_load(
    server, stubs, start_server, next_server, database, report
):
    sites = [create_site(stubs).id for _ in range(3)]
    with Load(server.address, sites) as load:
        load.wait_acknowledged(20)
        assert not next_server.is_up(), "it waits for its schema"
        migrate(database, NextServer.binary)
        load.wait_acknowledged(20)
        assert is_serving(stubs)
        wait_until(next_server.is_up, 10, "the next version serves")
        # One more of this version, as when an upgrade is taken back; all three serve.
        other = start_server(database)
        with (
            Load(next_server.address, sites, first_number=10**6) as ahead,
            Load(other.address, sites, first_number=2 * 10**6) as beside,
        ):
            for each in (ahead, beside, load):
                each.wait_acknowledged(20)
    for old in (server, other):
        old.stop()
    with Load(next_server.address, sites, first_number=3 * 10**6) as alone:
        alone.wait_acknowledged(20)
    calls = [call for each in (load, ahead, beside, alone) for call in each.history]
    report.outcomes(check(calls, database))
    failures = [failure for call in calls for failure in call.failures]
    assert not failures, failures[:3]
    with pytest.raises(RuntimeError, match="newer than the program"):
        migrate(database)
