"""Passwords change while the server runs: it reads the files that hold them for each connection."""

from energysites.v1 import sites_pb2

from support.calls import fail, site
from support.passwords import (
    assert_all_works,
    change_passwords,
    connected_roles,
    drop_connections,
    with_password,
)
from support.postgres import APP, OWNER
from support.process import wait_until


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
