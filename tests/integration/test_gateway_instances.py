"""Calls go to the instances of their service, and to those only that are well."""

import contextlib
import functools
import threading

import grpc
from energysites.v1 import configurations_pb2, live_data_pb2, sites_pb2
from google.rpc import code_pb2

from support.calls import at_once, outcome
from support.gateway import Echo, server_tls
from support.metrics import counted
from support.process import free_ports, wait_until
from support.proxy import Proxy

LIST = sites_pb2.ListSitesRequest()
CALLERS = 4


def test_each_service_has_its_instances(start_gateway, certificates, issuer):
    with contextlib.ExitStack() as stack:
        echoes = {name: Echo(certificates) for name in ("sites", "configurations", "live_data")}
        for echo in echoes.values():
            stack.callback(echo.stop)
        gateway = start_gateway({name: [echo.port] for name, echo in echoes.items()})
        stubs, rest = gateway.stubs(issuer.token()), gateway.rest(issuer.token())
        stack.callback(stubs.close)
        stubs.sites.ListSites(LIST)
        stubs.configurations.ListConfigurations(configurations_pb2.ListConfigurationsRequest())
        list(stubs.live_data.ExportLiveData(live_data_pb2.ExportLiveDataRequest()))
        for path in ("/v1/sites", "/v1/sites/1/configurations", "/v1/liveData:latest?site_ids=1"):
            assert rest.get(path).ok
        assert {name: [path.rpartition("/")[2] for path, _ in echo.calls]
                for name, echo in echoes.items()} == {
            "sites": ["ListSites", "ListSites"],
            "configurations": ["ListConfigurations", "ListConfigurations"],
            "live_data": ["ExportLiveData", "GetLatestLiveData"],
        }  # fmt: skip


class Caller(threading.Thread):
    """Makes calls until `over` is set. `call()` returns the code and the text of a failure."""

    def __init__(self, call, over):
        super().__init__()
        self.good, self.failures = 0, []
        self._call, self._over = call, over

    def run(self):
        while not self._over.is_set():
            if failure := self._call():
                self.failures.append(failure)
            else:
                self.good += 1


def lists(stubs):
    """A gRPC call."""

    def call():
        try:
            stubs.sites.ListSites(LIST, timeout=30)
        except grpc.RpcError as error:
            return error.code().name, error.details()

    return call


def creates(rest):
    """A REST write, before which the gateway asks an instance about the body."""

    def call():
        answer = rest.post("/v1/sites", {"name": "Farm Novák", "location": "Brno"})
        if not answer.ok:
            return code_pb2.Code.Name(answer.json()["code"]), answer.text

    return call


def served(server):
    """Calls of ListSites that it has answered."""
    return counted([server], "grpc_server_handled_total", grpc_method="ListSites")


def test_one_of_two_is_killed(start_gateway, start_server, database, certificates, issuer):
    """Only calls that it had under way may fail: at most one of each caller."""
    flags = server_tls(certificates)
    stays, goes = (start_server(database, flags=flags) for _ in range(2))
    gateway = start_gateway([stays.port, goes.port])
    stubs, over = gateway.stubs(issuer.token()), threading.Event()
    # A session of `requests` is for one thread.
    writers = [creates(gateway.rest(issuer.token())) for _ in range(CALLERS)]
    callers = [Caller(call, over) for call in [*writers, *[lists(stubs)] * CALLERS]]
    for caller in callers:
        caller.start()

    def all_make(count):
        targets = [caller.good + count for caller in callers]
        wait_until(
            lambda: all(caller.good >= target for caller, target in zip(callers, targets)),
            60, f"each caller makes {count} calls",
        )  # fmt: skip

    try:
        wait_until(lambda: served(stays) and served(goes), 60, "both serve")
        goes.kill()
        all_make(100)
        goes.start()
        wait_until(lambda: served(goes), 60, "it serves again")
        all_make(10)
    finally:
        over.set()
        for caller in callers:
            caller.join()
        stubs.close()
    failures = [failure for caller in callers for failure in caller.failures]
    assert max(len(caller.failures) for caller in callers) <= 1, failures
    assert {code for code, _ in failures} <= {"UNAVAILABLE"}


@contextlib.contextmanager
def proxied(port):
    proxy = Proxy(port)
    try:
        yield proxy
    finally:
        proxy.close()


def test_one_of_two_refuses_connections(start_gateway, certificates, issuer):
    """Its health is asked on a connection that it has, so that calls alone notice it.

    None of them fails, as many as come at once, and the gateway soon tries it no more.
    """
    (metrics,) = free_ports(1)
    with contextlib.ExitStack() as stack:
        well, sick = Echo(certificates), Echo(certificates)
        for echo in (well, sick):
            stack.callback(echo.stop)
        proxy = stack.enter_context(proxied(sick.port))
        gateway = start_gateway([well.port, proxy.port], metrics_listen=f"127.0.0.1:{metrics}")
        stubs = gateway.stubs(issuer.token())
        stack.callback(stubs.close)

        def counts(name):
            return counted([gateway], f"envoy_cluster_{name}", envoy_cluster_name="sites")

        wait_until(lambda: counts("membership_healthy") == 2, 60, "both are healthy")
        proxy.refuse()
        call = functools.partial(stubs.sites.ListSites, LIST, timeout=30)
        at_once([call] * 100)
        out = "outlier_detection_ejections_enforced_consecutive_local_origin_failure"
        wait_until(lambda: counts(out), 30, "the gateway leaves it out")
        # Each look at its health, which still is well, lets it back in for a few calls.
        before = counts("upstream_cx_connect_fail")
        for _ in range(200):
            call()
        assert counts("upstream_cx_connect_fail") - before < 40
        assert sick.calls == [] and len(well.calls) == 300


def test_a_large_body_is_checked_without_an_instance(start_gateway, start_server, database,
                                                     certificates, issuer):  # fmt: skip
    """Regression: 503, where the instance that was asked about it refused connections."""
    flags = server_tls(certificates)
    well, sick = (start_server(database, flags=flags) for _ in range(2))
    (metrics,) = free_ports(1)
    with proxied(sick.port) as proxy:
        gateway = start_gateway([well.port, proxy.port], metrics_listen=f"127.0.0.1:{metrics}")
        healthy = "envoy_cluster_membership_healthy"
        wait_until(
            lambda: counted([gateway], healthy, envoy_cluster_name="live_data") == 2, 60,
            "both are healthy",
        )  # fmt: skip
        proxy.refuse()
        rest = gateway.rest(issuer.token())
        body = {"nmae": "A" * 100_000}
        codes = {rest.post("/v1/liveData:batchCreate", body).status_code for _ in range(20)}
    assert codes == {400}


# What Envoy could take for a reason to repeat a call.
FAILURES = ("CANCELLED", "DEADLINE_EXCEEDED", "INTERNAL", "RESOURCE_EXHAUSTED", "UNAVAILABLE")


def test_a_call_that_an_instance_has_seen_is_not_repeated(start_gateway, echo, issuer):
    """Whether it answers with an error or not at all: it may have stored something."""
    with proxied(echo.port) as proxy, contextlib.closing(
        start_gateway([proxy.port]).stubs(issuer.token())
    ) as stubs:  # fmt: skip

        def breaks_off(_):
            proxy.cut()
            return iter([])

        def fails(name):
            return lambda context: context.abort(grpc.StatusCode[name], "planted")

        cases = [*((name, fails(name)) for name in FAILURES), ("UNAVAILABLE", breaks_off)]
        for code, echo.answer in cases:
            echo.calls.clear()
            refused = outcome(stubs.sites.CreateSite, sites_pb2.CreateSiteRequest())
            assert (refused.code, len(echo.calls)) == (code, 1)
