"""What is measured: a filled database, the service on it, and Envoy in front."""

import contextlib
import os
import pathlib
import subprocess
import time

from psycopg import conninfo
from support.envoy import Envoy
from support.process import BUILD
from support.server import BINARY, Server, migrate, urls

from tables import Tables

LOAD = BUILD / "tests" / "bench_load"


class BenchServer(Server):
    """The service with one more method that does nothing."""

    binary = BUILD / "tests" / "bench_server"

    def forget_peak(self):
        """Counts the peak of memory from now on."""
        pathlib.Path(f"/proc/{self.process.pid}/clear_refs").write_text("5", encoding="ascii")


class Stage:
    """A context: everything it makes ends with it."""

    def __init__(self, cluster, folder, rows, year_minutes, plain=True):
        self.folder = folder
        self._stack = contextlib.ExitStack()
        self._envoy = None
        self.database = cluster.empty_database()
        self._stack.callback(cluster.drop, self.database)
        migrate(self.database)
        self.tables = Tables(self.database, rows, year_minutes, plain)
        self.maintained = self._maintain()
        self.server = BenchServer(self.database, folder)
        self._stack.callback(self.server.kill)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._stack.close()

    def _maintain(self):
        """Makes the rollups, as a schedule does; returns what went wrong, empty if nothing did."""
        result = subprocess.run(
            [BINARY, "maintain"], capture_output=True, text=True, check=False, timeout=600,
            env={**os.environ, **urls(self.database)},
        )  # fmt: skip
        return "" if result.returncode == 0 else result.stderr.strip()

    def envoy(self):
        if self._envoy is None:
            self._envoy = Envoy(self.server.port, self.folder)
            self._stack.callback(self._envoy.process.kill)
        return self._envoy

    def postgres_environment(self):
        """For pgbench and psql: the app role, by what they read from the environment."""
        words = conninfo.conninfo_to_dict(self.database.app_url)
        return {
            **os.environ, "PGHOST": words["host"], "PGDATABASE": words["dbname"],
            "PGUSER": words["user"], "PGPASSWORD": words["password"],
        }  # fmt: skip


def start_and_idle(database, folder):
    """Starts energy-sites itself: seconds until it is ready, and its memory after a while."""
    begin = time.monotonic()
    server = Server(database, folder)
    try:
        seconds = time.monotonic() - begin
        time.sleep(1)
        return seconds, server.process.memory_mib()
    finally:
        server.kill()
