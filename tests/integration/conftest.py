"""The production gateway, and the three services apart behind it."""

import functools
import pathlib

import pytest

from support.apart import Apart
from support.gateway import Echo, server_tls
from support.metrics import counted
from support.process import wait_until

HERE = pathlib.Path(__file__).parent


def is_apart(config):
    return config.getoption("--apart")


def pytest_addoption(parser):
    parser.addoption(
        "--apart", action="store_true",
        help="run the services apart, two instances each, and all tests through the gateway",
    )  # fmt: skip


def pytest_configure(config):
    config.addinivalue_line(
        "markers", "one_server(reason): not through the gateway where the services run apart"
    )
    config.addinivalue_line("markers", "memory: about the memory of a server without sanitizers")


# What only one process, or no gateway, has.
ONE_SERVER = {"server", "start_server", "guarded_server", "envoy", "start_envoy"}
OWN_GATEWAY = {"gateway", "start_gateway"}
SERVICE = {"service", "start_service"}


def stays_behind(item):
    """Whether --apart leaves it out: it says why, or brings a gateway of its own."""
    marker = item.get_closest_marker("one_server")
    if marker and not (marker.args and isinstance(marker.args[0], str) and marker.args[0]):
        raise pytest.UsageError(f"{item.nodeid}: one_server takes a reason")
    return marker is not None or bool(OWN_GATEWAY & set(item.fixturenames))


def asks_for_service(item):
    names = set(item.fixturenames)
    return bool(SERVICE & names) and not ONE_SERVER & names


def pytest_collection_modifyitems(config, items):
    ours = [item for item in items if item.path.parent == HERE]
    out = {item for item in ours if stays_behind(item)}
    lost = [item.nodeid for item in ours if item not in out and not asks_for_service(item)]
    if lost:
        raise pytest.UsageError(
            "would pass no gateway with --apart; ask for `service`, or mark with"
            " `one_server(reason)`:\n" + "\n".join(lost)
        )
    if is_apart(config):
        config.hook.pytest_deselected(items=[item for item in items if item in out])
        items[:] = [item for item in items if item not in out]


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


@pytest.fixture
def start_apart(start_server, start_gateway, certificates, issuer):
    """`start_apart(database, flags=(...))`: the services apart, which end with the test."""

    def start(database, **arguments):
        return Apart(start_server, start_gateway, certificates, issuer, database, **arguments)

    return start


@pytest.fixture
def start_service(request):
    # By name: see `one_server`.
    return request.getfixturevalue("start_apart" if is_apart(request.config) else "start_server")


@pytest.fixture
def front(request, service):
    """The Envoy that `rest` calls: the gateway, or else the local one."""
    return service.gateway if is_apart(request.config) else request.getfixturevalue("envoy")


@pytest.fixture
def rest(front):
    return front.rest()


@pytest.fixture
def start_front(request, service):
    """`start_front(call_timeout="1s")`: such another Envoy, that has these settings."""
    if is_apart(request.config):
        return service.front
    return functools.partial(request.getfixturevalue("start_envoy"), service.port)


@pytest.fixture
def unmaintained_service(start_service, database):
    """One that leaves dirty what is dirty, once its maintenance has run."""
    service = start_service(database, flags=("--maintenance_interval=1h",))

    runs = "energy_sites_maintenance_runs_total"
    wait_until(
        lambda: counted(service.instances(), runs, step="rollups"), 30, "rollups were recomputed"
    )
    return service
