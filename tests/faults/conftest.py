"""What tests of faults share: a durable PostgreSQL that they may break, and the report."""

import contextlib
import pathlib

import pytest
from report import Report, Reporter
from support.proxy import Proxy
from support.server import migrated_cluster
from support.stubs import Stubs

REPORT = pytest.StashKey[Report]()


def pytest_addoption(parser):
    group = parser.getgroup("faults")
    group.addoption("--long", action="store_true", help="every round of every fault")
    group.addoption("--strict-figures", action="store_true",
                    help="a duration or ratio that misses its goal is a failure")  # fmt: skip
    group.addoption("--report", type=pathlib.Path, metavar="FILE",
                    help="where the figures go: Markdown, or JSON by its suffix")  # fmt: skip


def pytest_configure(config):
    config.stash[REPORT] = Report()


def pytest_terminal_summary(terminalreporter, config):
    report = config.stash[REPORT]
    if report.figures:
        terminalreporter.section("figures")
        terminalreporter.write(report.markdown())
        if path := config.getoption("report"):
            report.write(path)


@pytest.fixture
def report(request):
    """Takes figures; fails the test for a missed goal, with --strict-figures."""
    name = request.node.name.removeprefix("test_").replace("_", " ")
    reporter = Reporter(request.config.stash[REPORT], name)
    yield reporter
    if request.config.getoption("strict_figures"):
        assert not reporter.missed, reporter.missed


@pytest.fixture
def rounds(request):
    """`rounds(short, long)`: which of both this run is for."""
    return lambda short, long: long if request.config.getoption("long") else short


@pytest.fixture
def start_cluster():
    """`start_cluster(**arguments)`: a durable PostgreSQL that ends with the test."""
    with contextlib.ExitStack() as clusters:
        yield lambda **arguments: clusters.enter_context(migrated_cluster(durable=True, **arguments))


@pytest.fixture(scope="session")
def cluster():
    """A durable PostgreSQL. Tests may stop it, and leave it so; its settings they leave alone."""
    with migrated_cluster(durable=True) as cluster:
        yield cluster


@pytest.fixture
def database(cluster):
    """A migrated database of the test's own, in `cluster`."""
    cluster.ensure_started()
    database = cluster.new_database()
    yield database
    cluster.ensure_started()
    cluster.drop(database)


@pytest.fixture
def proxy(cluster):
    """Lies between `proxied_server` and its database."""
    proxy = Proxy(cluster.socket)
    yield proxy
    proxy.close()


@pytest.fixture
def proxied_server(start_server, database, proxy):
    """A server whose database lies behind `proxy`."""
    url = database.app_url_through(proxy.address)
    return start_server(database, environment={"DATABASE_URL": url})


@pytest.fixture
def proxied_stubs(proxied_server):
    clients = Stubs(proxied_server.address)
    yield clients
    clients.close()
