"""How the process starts, refuses to start, and ends."""

import json
import signal
import socket

import pytest
from energysites.v1 import sites_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc

from support.calls import create_site, site
from support.process import wait_until
from support.server import run
from support.stubs import Stubs

SERVING, NOT_SERVING = (
    health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING,
)  # fmt: skip


PROCESS = pytest.mark.one_server("about the process, its ports and its output")


@PROCESS
def test_bad_starts_end_with_1_and_say_why(database, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        free = ["--listen_address=127.0.0.1:0", "--admin_address="]
        table = {
            "a taken port": ([f"--listen_address=127.0.0.1:{port}"], f"127.0.0.1:{port}"),
            "a taken admin port": (
                [free[0], f"--admin_address=127.0.0.1:{port}"],
                f"127.0.0.1:{port}",
            ),
            "an unknown flag": (["--prot=1"], "prot"),
            "a number that is none": (["--queue_limit=many"], "queue_limit"),
            "a number out of range": (["--database_connections=0"], "--database_connections"),
            "an unknown service": (["--services=sites,windmills"], "windmills"),
            "a certificate without a key": (["--tls_cert=x.pem"], "--tls_key"),
            "a certificate that is not there": (
                ["--tls_cert=/no/x.pem", "--tls_key=/no/x.key"],
                "/no/x.pem",
            ),
            "a secret that is not there": (["--database_url_file=/no/secret"], "/no/secret"),
        }
        for name, (flags, text) in table.items():
            result = run("serve", *free, *flags, DATABASE_URL=database.app_url)
            assert (result.returncode, text in result.stderr) == (1, True), (name, result)
    result = run("serve", DATABASE_URL=database.app_url, ENERGY_SITES_QUEUE_LIMIT="lots")
    assert result.returncode == 1 and "ENERGY_SITES_QUEUE_LIMIT" in result.stderr
    for command in ([], ["serv"], ["serve", "now"]):
        result = run(*command)
        assert result.returncode == 1 and "Usage" in result.stderr


@PROCESS
def test_a_second_server_on_the_port_ends(server, database):
    flags = [f"--listen_address={server.address}", "--admin_address="]
    result = run("serve", *flags, DATABASE_URL=database.app_url)
    assert result.returncode == 1 and server.address in result.stderr


@PROCESS
@pytest.mark.one_server("of commands that call nobody")
def test_a_token_is_sent_over_tls_alone(tmp_path):
    (tmp_path / "token").write_text("x")
    (tmp_path / "sites.csv").write_text("name,location\n")
    result = run("import", f"--sites={tmp_path}/sites.csv", f"--token_file={tmp_path}/token")
    assert result.returncode == 1 and "--token_file requires --tls_ca" in result.stderr


@pytest.mark.one_server("of commands that call nobody")
def test_commands_say_why_they_do_not_reach_the_database():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    for command in ("migrate", "maintain"):
        result = run(command, DATABASE_URL=f"postgresql://nobody@127.0.0.1:{port}/energy")
        assert result.returncode == 1
        assert f"port {port} failed: Connection refused" in result.stderr, result


@PROCESS
def test_configuration_is_printed_without_its_secrets(database, tmp_path):
    secret = database.app_url.split(":")[2].split("@")[0]
    result = run("serve", "--print_config", "--queue-limit=17", DATABASE_URL=database.app_url,
                 ENERGY_SITES_DRAIN_SECONDS="3", ENERGY_SITES_QUEUE_LIMIT="18")  # fmt: skip
    assert result.returncode == 0
    assert "--queue_limit=17\n" in result.stdout, "a flag goes before the environment"
    assert "--drain_seconds=3\n" in result.stdout
    assert database.name in result.stdout
    assert secret and secret not in result.stdout + result.stderr
    (tmp_path / "url").write_text(database.app_url + "\n")
    result = run("serve", "--print_config", f"--database_url_file={tmp_path}/url")
    assert database.name in result.stdout and secret not in result.stdout
    assert run("version").stdout.startswith("energy-sites ")


def takes_connections(address):
    host, port = address.split(":")
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except OSError:
        return False
    return True


class SlowCall:
    """A call that waits for a row that the test holds locked."""

    def __init__(self, stubs, database):
        one = create_site(stubs)
        self._lock = database.connect()
        self._lock.execute("BEGIN")
        self._lock.execute(f"SELECT FROM sites WHERE id = {one.id} FOR UPDATE")
        request = sites_pb2.UpdateSiteRequest(site=site(id=one.id, name="Late"))
        self.call = stubs.sites.UpdateSite.future(request, timeout=60)
        waiting = "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        wait_until(lambda: database.query(waiting), 20, "the call waits for the lock")

    def release(self):
        self._lock.close()


@PROCESS
def test_drain(server, stubs, database):
    health = health_pb2_grpc.HealthStub(stubs.channel)
    watch = health.Watch(health_pb2.HealthCheckRequest(), timeout=60)
    assert next(watch).status == SERVING
    slow = SlowCall(stubs, database)
    server.process.signal(signal.SIGTERM)
    # Told before anything ends; the call under way is answered all the same.
    assert next(watch).status == NOT_SERVING
    wait_until(lambda: not server.admin_answers("readyz"), 10, "readyz says no")
    assert server.admin_answers("livez")
    watch.cancel()
    slow.release()
    assert slow.call.result(timeout=20).name == "Late"
    assert server.process.wait(20) == 0
    assert database.query("SELECT name FROM sites") == [("Late",)]
    assert json.loads(server.log.read_text().splitlines()[-1])["event"] == "stopped"


@PROCESS
def test_a_second_signal_does_not_cut_the_drain(server, stubs, database):
    """Regression: the thread that writes the log took it, and the process was killed."""
    slow = SlowCall(stubs, database)
    server.process.signal(signal.SIGTERM)
    wait_until(lambda: not takes_connections(server.address), 10, "the drain has begun")
    server.process.signal(signal.SIGTERM)
    slow.release()
    assert slow.call.result(timeout=20).name == "Late"
    assert server.process.wait(20) == 0


@PROCESS
def test_calls_are_taken_until_the_load_balancer_has_noticed(start_server, database):
    server = start_server(database, flags=["--drain_delay=10m"])
    stubs = Stubs(server.address)
    watch = health_pb2_grpc.HealthStub(stubs.channel).Watch(
        health_pb2.HealthCheckRequest(), timeout=60
    )
    assert next(watch).status == SERVING
    server.process.signal(signal.SIGTERM)
    assert next(watch).status == NOT_SERVING
    watch.cancel()
    late = Stubs(server.address)
    assert create_site(late).id and create_site(stubs).id
    server.process.signal(signal.SIGTERM)
    assert server.process.wait(20) == 0
    for each in (late, stubs):
        each.close()


def test_drain_is_cut(start_service, database):
    flags = ["--drain_seconds=1", "--drain_delay=0s", "--lock_timeout=30s"]
    service = start_service(database, flags=flags)
    servers = service.instances("sites")
    stubs = service.stubs()
    slow = SlowCall(stubs, database)
    for server in servers:
        server.process.signal(signal.SIGTERM)
    assert [server.process.wait(10) for server in servers] == [0] * len(servers)
    assert slow.call.code().name in ("UNAVAILABLE", "CANCELLED")
    slow.release()
    assert database.query("SELECT name FROM sites") == [(site().name,)]
    stubs.close()
