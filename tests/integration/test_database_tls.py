"""TLS to the database: whom the server lets be its database, and that passwords change over it."""

import urllib.parse

import pytest

from support.passwords import assert_all_works, change_passwords, drop_connections, with_password
from support.postgres import APP, OWNER
from support.process import wait_until
from support.server import migrated_cluster

pytestmark = pytest.mark.one_server("about the connections of a process to its database")


@pytest.fixture(scope="module")
def tls_cluster(certificates):
    """Listens at localhost, with a certificate for this name."""
    with migrated_cluster(certificates=certificates) as cluster:
        yield cluster


def verified(url, ca):
    return f"{url}?sslmode=verify-full&sslrootcert={urllib.parse.quote(str(ca), safe='')}"


def connections(database):
    """Whether those of each role are encrypted."""
    return set(database.query(
        """SELECT usename, ssl FROM pg_stat_activity JOIN pg_stat_ssl USING (pid)
           WHERE datname = current_database() AND usename = ANY(%s)""", [[APP, OWNER]],
    ))  # fmt: skip


def test_verify_full_and_a_new_password(tls_cluster, certificates, start_server, tmp_path):
    database = tls_cluster.new_database()
    address = f"localhost:{tls_cluster.port}"
    urls = {
        tmp_path / "app": database.app_url_through(address),
        tmp_path / "owner": database.owner_url_through(address),
    }

    def write_files(password):
        for path, url in urls.items():
            path.write_text(verified(with_password(url, password), certificates / "ca.pem"))

    change_passwords(database, "first")
    write_files("first")
    server = start_server(database, flags=[
        f"--database_url_file={tmp_path}/app", f"--migrate_database_url_file={tmp_path}/owner",
        "--maintenance_interval=100ms",
    ])  # fmt: skip
    encrypted = {(APP, True), (OWNER, True)}
    wait_until(lambda: connections(database) >= encrypted, 20, "both roles connect")
    assert_all_works(server, first=0)
    assert connections(database) == encrypted

    change_passwords(database, "second")
    drop_connections(database)
    wait_until(server.is_down, 20, "the old password is refused")
    write_files("second")
    wait_until(server.is_up, 20, "the new password is read")
    assert_all_works(server, first=10)
    wait_until(lambda: connections(database) == encrypted, 20, "both roles connect again")


@pytest.mark.parametrize(
    ("host", "ca", "reason"),
    [
        ("localhost", "stranger.pem", "certificate verify failed"),
        ("127.0.0.1", "ca.pem", "does not match host name"),
    ],
    ids=["another authority", "another name"],
)
def test_a_stranger_is_not_its_database(
    tls_cluster, certificates, start_server, tmp_path, host, ca, reason
):
    database = tls_cluster.new_database()
    path, password = tmp_path / "app", "the-third"

    def write_file(host, ca):
        url = database.app_url_through(f"{host}:{tls_cluster.port}")
        path.write_text(verified(with_password(url, password), certificates / ca))

    change_passwords(database, password)
    write_file(host, ca)
    server = start_server(database, flags=[f"--database_url_file={path}"], ready=False)
    wait_until(lambda: reason in server.log_text(), 30, "the log says why")
    assert server.is_down() and connections(database) == set()
    assert '"database is available"' not in server.log_text()
    assert password not in server.log_text()
    # Nothing else stood in its way.
    write_file("localhost", "ca.pem")
    wait_until(server.is_up, 30, "it trusts its database")
