"""Passwords change while the server runs: it reads the files that hold them for each connection."""

import urllib.parse

from energysites.v1 import live_data_pb2, sites_pb2

from support.calls import create_site, fail, site
from support.ingest import Ingest, numbered
from support.postgres import APP, OWNER
from support.process import wait_until
from support.watch import Watch


def change_passwords(database, password):
    """In the database only."""
    with database.connect() as superuser:
        for role in (APP, OWNER):
            superuser.execute(f"ALTER ROLE {role} PASSWORD '{password}'")


def drop_connections(database):
    database.query(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = ANY(%s)",
        [[APP, OWNER]],
    )


def with_password(url, password):
    return url.replace(f":{urllib.parse.urlsplit(url).password}@", f":{password}@")


def connected_roles(database):
    return {role for (role,) in database.query("SELECT DISTINCT usename FROM pg_stat_activity")}


def assert_all_works(service, first):
    """Calls that use each kind of connection, with entries from number `first` on."""
    stubs = service.stubs()
    site_id = create_site(stubs).id
    watch = Watch(stubs, [site_id])
    stream = Ingest(stubs, session=f"meter-{first}")
    stream.send(1, numbered(site_id, first, 2))
    stream.until(1)
    stream.rest()
    assert len(watch.wait(2)) == 2
    watch.cancel()
    request = live_data_pb2.ExportLiveDataRequest(site_ids=[site_id])
    answers = list(stubs.live_data.ExportLiveData(request, timeout=30))
    assert sum(len(answer.live_data_entries) for answer in answers) == 2
    stubs.close()


def test_the_server_goes_on_with_the_new_passwords(cluster, start_service, tmp_path):
    database = cluster.new_database()
    app, owner = tmp_path / "app", tmp_path / "owner"

    def write_files(password):
        app.write_text(with_password(database.app_url, password))
        owner.write_text(with_password(database.owner_url, password))

    change_passwords(database, "first")
    write_files("first")
    service = start_service(database, flags=[
        f"--database_url_file={app}", f"--migrate_database_url_file={owner}",
        "--maintenance_interval=100ms",
    ])  # fmt: skip
    assert_all_works(service, first=0)
    wait_until(lambda: {APP, OWNER} <= connected_roles(database), 20, "maintenance connects")

    change_passwords(database, "second")
    drop_connections(database)
    wait_until(service.is_down, 20, "the old password is refused")
    stubs = service.stubs()
    assert fail(stubs.sites.CreateSite, sites_pb2.CreateSiteRequest(site=site())).code == "UNAVAILABLE"
    stubs.close()

    write_files("second")
    wait_until(service.is_up, 20, "the new password is read")
    assert_all_works(service, first=10)
    wait_until(lambda: {APP, OWNER} <= connected_roles(database), 20, "maintenance connects again")


def test_a_file_that_cannot_be_read_is_no_end(cluster, start_service, tmp_path):
    """As in the middle of a rotation: what is connected stays, and new connections wait."""
    database = cluster.new_database()
    path = tmp_path / "app"
    path.write_text(database.app_url)
    service = start_service(database, flags=[f"--database_url_file={path}"])
    path.unlink()
    drop_connections(database)
    wait_until(lambda: "cannot read" in service.log_text(), 20, "the log says what is missing")
    wait_until(service.is_down, 20, "they have no database")
    path.write_text(database.app_url)
    wait_until(service.is_up, 20, "the file is read again")
    assert_all_works(service, first=0)
