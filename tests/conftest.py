"""What tests of the running service share: a database, the server, its clients, and Envoy.

Each test that asks for `server` gets a server of its own on a database of its own.
"""

import os
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).parent))
# Before gRPC is imported: its fork handlers stop and start its threads in the middle of calls, at
# each program that a test starts as another user.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

from support import stubs as stub_support
from support.certificates import make_certificates
from support.envoy import Envoy, Rest
from support.gateway import Gateway
from support.server import Server, migrated_cluster
from support.tokens import Issuer

# Before any test module is imported: they import the generated messages.
stub_support.generate()


@pytest.fixture(scope="session")
def postgres():
    """The session's cluster, with a migrated template."""
    with migrated_cluster() as cluster:
        yield cluster


@pytest.fixture
def cluster():
    """A PostgreSQL of the test's own, which it may stop and whose roles it may change."""
    with migrated_cluster() as cluster:
        yield cluster


@pytest.fixture
def database(postgres):
    """A migrated database of the test's own."""
    database = postgres.new_database()
    yield database
    postgres.drop(database)


@pytest.fixture
def start_server(tmp_path):
    """`start_server(database, flags=(...))`: a server that ends with the test."""
    servers = []

    def start(database, **arguments):
        server = Server(database, tmp_path, **arguments)
        servers.append(server)
        return server

    yield start
    for server in servers:
        server.kill()


@pytest.fixture
def start_service(request):
    """`start_service(database, flags=(...))`: what clients call. It ends with the test."""
    # By name, so that a test which asks for it can be told from one for a process of its own.
    return request.getfixturevalue("start_server")


@pytest.fixture
def service(start_service, database):
    return start_service(database)


@pytest.fixture
def server(service):
    """The service, for tests that are about the one process which it is."""
    return service


@pytest.fixture
def stubs(service):
    """Clients of the service, past the local Envoy."""
    clients = service.stubs()
    yield clients
    clients.close()


@pytest.fixture(scope="session")
def certificates(tmp_path_factory):
    """The folder with them."""
    folder = tmp_path_factory.mktemp("certificates")
    make_certificates(folder)
    return folder


@pytest.fixture(scope="session")
def issuer(tmp_path_factory):
    return Issuer(tmp_path_factory.mktemp("issuer"))


@pytest.fixture
def start_envoy(tmp_path):
    """`start_envoy(grpc_port)`: an Envoy that ends with the test."""
    envoys = []

    def start(grpc_port, **arguments):
        envoys.append(Envoy(grpc_port, tmp_path, **arguments))
        return envoys[-1]

    yield start
    for envoy in envoys:
        envoy.process.kill()


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
def envoy(start_envoy, server):
    return start_envoy(server.port)


@pytest.fixture
def rest(request):
    return Rest(request.getfixturevalue("envoy").url)
