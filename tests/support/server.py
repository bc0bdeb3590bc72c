"""Starts the energy-sites binary with flags and environment variables."""

import contextlib
import signal
import subprocess

import grpc
import requests
from grpc_health.v1 import health_pb2, health_pb2_grpc

from support.postgres import Postgres
from support.process import BUILD, Process, free_ports
from support.stubs import Stubs

BINARY = BUILD / "energy-sites"


def run(*arguments, binary=BINARY, **environment):
    """Runs the binary to its end, with only this environment."""
    return subprocess.run([binary, *arguments], env=environment, capture_output=True, text=True,
                          timeout=120, check=False)  # fmt: skip


def urls(database):
    """The environment with the URLs of both roles."""
    return {"DATABASE_URL": database.app_url, "MIGRATE_DATABASE_URL": database.owner_url}


def migrate(database, binary=BINARY):
    """Migrates `database` to the newest schema of the binary."""
    result = run("migrate", binary=binary, **urls(database))
    if result.returncode != 0:
        raise RuntimeError(f"migrate ended with {result.returncode}:\n{result.stdout}{result.stderr}")


@contextlib.contextmanager
def migrated_cluster(**arguments):
    """A Postgres with these arguments and a migrated template. Stops at the end of the context."""
    cluster = Postgres(**arguments)
    try:
        cluster.make_template(migrate)
        yield cluster
    finally:
        cluster.remove()


@contextlib.contextmanager
def standing_still(service):
    """Stops all its processes with SIGSTOP, as on a machine that hangs."""
    processes = [one.process for one in service.instances()]
    for process in processes:
        process.signal(signal.SIGSTOP)
    try:
        yield
    finally:
        for process in processes:
            process.signal(signal.SIGCONT)


class Server:
    """`energy-sites serve` on free ports. `restart` keeps the ports.

    Tests of the public behaviour use only the methods that `Apart` also has.
    """

    binary = BINARY

    def __init__(self, database, folder, flags=(), environment=None, ready=True):
        """With `ready` False, waits only until the server is live, not until it is ready."""
        self.port, self.admin_port = free_ports(2)
        self.address = f"127.0.0.1:{self.port}"
        self.admin_url = f"http://127.0.0.1:{self.admin_port}"
        self.metrics_url = f"{self.admin_url}/metrics"
        self.log = folder / f"server-{self.port}.log"
        self._flags = flags
        self._environment = {"DATABASE_URL": database.app_url, **(environment or {})}
        self.start(ready)

    def start(self, ready=True):
        self.process = Process(
            [self.binary, "serve", f"--listen_address={self.address}",
             f"--admin_address=127.0.0.1:{self.admin_port}", *self._flags],
            self.log, self._environment,
        )  # fmt: skip
        page = "readyz" if ready else "livez"
        self.process.wait_healthy(
            lambda: self.admin_answers(page), 60, f"{self.admin_url}/{page} answers 200"
        )

    def instances(self, name=None):
        """The processes of the service with this name, or of all services."""
        return [self]

    def peaks_mib(self, name=None):
        """The maximum resident memory of each of these instances so far."""
        return [one.process.peak_mib() for one in self.instances(name)]

    def stubs(self, address=None, **arguments):
        """Clients, by default connected directly to the server."""
        return Stubs(address or self.address, **arguments)

    def client_flags(self):
        """Of import and export."""
        return [f"--target={self.address}"]

    def resets(self, failure):
        """Whether a proxy in between may end a stream with this status."""
        return False

    def is_up(self):
        """Whether it is ready, according to its health over HTTP and gRPC."""
        return self.admin_answers("readyz") and self._serves()

    def is_down(self):
        return not self.admin_answers("readyz") and not self._serves()

    def log_text(self):
        return self.log.read_text()

    def _serves(self):
        request = health_pb2.HealthCheckRequest(service="energysites.v1.LiveData")
        with grpc.insecure_channel(self.address) as channel:
            try:
                answer = health_pb2_grpc.HealthStub(channel).Check(request, timeout=5)
            except grpc.RpcError:
                return False
        return answer.status == health_pb2.HealthCheckResponse.SERVING

    def admin_answers(self, page):
        """Whether the admin port returns 200 for `page`."""
        try:
            return requests.get(f"{self.admin_url}/{page}", timeout=5).ok
        except requests.ConnectionError:
            return False

    def stop(self):
        return self.process.stop()

    def kill(self):
        return self.process.kill()

    def restart(self, ready=True):
        self.stop()
        self.start(ready)
