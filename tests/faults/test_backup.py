"""A backup is restored to a marked moment, with all that was acknowledged before it."""

from archive import Archive
from history import check
from load import Load
from moments import seconds_until

from support.calls import contents, create_site
from support.stubs import Stubs


def test_a_backup_is_restored_to_a_marked_moment(start_cluster, start_server, report):
    cluster = start_cluster()
    database = cluster.new_database()
    archive = Archive(cluster)
    server = start_server(database)
    stubs = Stubs(server.address)
    sites = [create_site(stubs).id for _ in range(3)]
    archive.back_up()
    # Only the WAL has these.
    with Load(server.address, sites) as load:
        load.wait_acknowledged(50)
    marked = contents(database)
    [(moment,)] = database.query("SELECT clock_timestamp()::text")
    with Load(server.address, [create_site(stubs, name="Late").id, *sites]) as later:
        later.wait_acknowledged(20)
    server.stop()
    stubs.close()
    assert contents(database) != marked

    report.note("restore", seconds_until(lambda: archive.restore(moment) is None, "restored"), "s")
    report.outcomes(check(load.history, database))
    assert contents(database) == marked
    # It serves, and what comes is stored beside the rest.
    server.start()
    stubs = Stubs(server.address)
    assert create_site(stubs).id not in sites
    stubs.close()
