"""The production gateway, and the three services apart behind it."""

import concurrent.futures
import re

import pytest
import requests

from support.gateway import Echo, Gateway, server_tls
from support.process import wait_until
from support.server import Server
from support.stubs import NAMES


def pytest_addoption(parser):
    parser.addoption(
        "--apart", action="store_true",
        help="run the tests that ask for clients alone, with the services apart behind the gateway",
    )  # fmt: skip


def pytest_configure(config):
    config.addinivalue_line(
        "markers",
        "one_server: about the limits and the port of a single process, which clients of the gateway "
        "do not see",
    )


def pytest_collection_modifyitems(config, items):
    if not config.getoption("--apart"):
        return
    # What a test does to a server, a gateway or Envoy of its own, it does to these.
    own = {"server", "start_server", "envoy", "start_envoy", "guarded_server", "gateway", "start_gateway"}
    apart = [item for item in items
             if {"stubs", "rest"} & set(item.fixturenames) and not own & set(item.fixturenames)
             and item.get_closest_marker("one_server") is None]  # fmt: skip
    config.hook.pytest_deselected(items=[item for item in items if item not in apart])
    items[:] = apart


@pytest.fixture
def start_gateway(tmp_path, certificates, issuer):
    """`start_gateway(ports, **settings)`: a gateway that ends with the test."""
    gateways = []

    def start(instances, **arguments):
        gateways.append(Gateway(instances, tmp_path, certificates, issuer, **arguments))
        return gateways[-1]

    yield start
    for gateway in gateways:
        gateway.process.kill()


@pytest.fixture
def guarded_server(start_server, database, certificates):
    """A server that serves nobody but the gateway."""
    return start_server(database, flags=server_tls(certificates))


@pytest.fixture
def unmaintained_server(start_server, database):
    """One that leaves dirty what is dirty, once its maintenance has run."""
    server = start_server(database, flags=("--maintenance_interval=1h",))
    wait_until(
        lambda: re.search(r'^energy_sites_maintenance_runs_total\{.*step="rollups".*\} [1-9]',
                          requests.get(f"{server.admin_url}/metrics", timeout=5).text, re.MULTILINE),
        30, "rollups were refolded",
    )  # fmt: skip
    return server


@pytest.fixture
def gateway(start_gateway, guarded_server):
    return start_gateway([guarded_server.port])


@pytest.fixture
def echo(certificates):
    upstream = Echo(certificates)
    yield upstream
    upstream.stop()


class Apart:
    """Two instances of each service, each on its own, behind the gateway; clients with a token."""

    def __init__(self, database, folder, certificates, issuer):
        self._token = issuer.token()

        flags = (
            *server_tls(certificates),
            "--drain_delay=4s",  # As long as the gateway takes to notice, and more.
            "--maintenance_interval=1h",  # Tests of rollups want to find dirty what they wrote.
        )

        def start(name):
            return name, Server(database, folder, flags=(*flags, f"--services={name}"))

        with concurrent.futures.ThreadPoolExecutor(len(NAMES) * 2) as threads:
            self.servers = list(threads.map(start, [*NAMES, *NAMES]))
        ports = {name: [server.port for of, server in self.servers if of == name] for name in NAMES}
        self.gateway = Gateway(ports, folder, certificates, issuer)

    def stubs(self):
        return self.gateway.stubs(self._token)

    def rest(self):
        return self.gateway.rest(self._token)

    def stop(self):
        self.gateway.process.kill()
        for _, server in self.servers:
            server.kill()


@pytest.fixture
def apart(database, tmp_path, certificates, issuer):
    services = Apart(database, tmp_path, certificates, issuer)
    yield services
    services.stop()
