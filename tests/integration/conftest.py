"""The production gateway, for the tests named test_gateway_*."""

import pytest

from support.certificates import make_certificates
from support.gateway import Echo, Gateway, server_tls
from support.tokens import Issuer


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
def gateway(start_gateway, guarded_server):
    return start_gateway([guarded_server.port])


@pytest.fixture
def echo(certificates):
    upstream = Echo(certificates)
    yield upstream
    upstream.stop()
