"""A server under a little load of every kind, and a real Prometheus that watches it."""

import contextlib
import types

import pytest
from support import load
from support.prometheus import Prometheus
from support.server import Server
from support.stubs import Stubs


@pytest.fixture(scope="session")
def watched(postgres, tmp_path_factory):
    """`watched.server` and `watched.prometheus`, which has seen the load rise several times."""
    folder = tmp_path_factory.mktemp("watched")
    database = postgres.new_database()
    with contextlib.ExitStack() as stack:
        stack.callback(postgres.drop, database)
        server = Server(database, folder, environment={"MIGRATE_DATABASE_URL": database.owner_url},
                        flags=["--maintenance_interval=1s"])  # fmt: skip
        stack.callback(server.kill)
        prometheus = Prometheus(server, folder / "prometheus")
        stack.callback(prometheus.process.kill)
        stubs = Stubs(server.address)
        stack.callback(stubs.close)
        watch = stack.enter_context(load.watching(stubs))
        for _ in range(3):
            load.every_kind(stubs, watch)
            prometheus.wait_for_scrapes(2)
        yield types.SimpleNamespace(server=server, prometheus=prometheus, stubs=stubs)
