"""How far a standby is behind, as the role that serves may see it."""

import math

from support.calls import create_site
from support.metrics import value
from support.postgres import APP, Standby
from support.process import wait_until
from support.stubs import Stubs

STANDBYS = "energy_sites_database_standbys"
LAG = "energy_sites_database_replication_lag_bytes"


def test_the_lag_is_known_to_a_role_that_may_see_it(cluster, start_server):
    database = cluster.new_database()
    server = start_server(database)
    wait_until(lambda: value(server, STANDBYS) == 0, 10, "the first look")
    assert value(server, LAG) == 0
    standby = Standby(cluster)
    try:
        wait_until(lambda: value(server, STANDBYS) == 1, 30, "the standby is seen")
        wait_until(lambda: math.isnan(value(server, LAG)), 10, "its lag is not")
        with database.connect() as connection:
            connection.execute(f"GRANT pg_read_all_stats TO {APP}")
        wait_until(lambda: value(server, LAG) == 0, 30, "the standby has all")
        standby.execute("SELECT pg_wal_replay_pause()")
        stubs = Stubs(server.address)
        create_site(stubs)
        stubs.close()
        behind = wait_until(lambda: value(server, LAG), 30, "the standby is behind")
        assert 0 < behind < 10_000_000
        standby.execute("SELECT pg_wal_replay_resume()")
        wait_until(lambda: value(server, LAG) == 0, 30, "the standby has caught up")
    finally:
        standby.stop()
