"""Who calls too often is told so, and when to come back; others notice nothing."""

import contextlib
import http.client
import itertools

import grpc
import pytest
import yaml
from energysites.v1 import sites_pb2
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from support.calls import at_once
from support.envoy import Envoy
from support.process import wait_until
from support.ratelimit import RateLimit
from support.rest_errors import check, details

LIST = sites_pb2.ListSitesRequest()


def refusal(rest):
    """The first answer that is 429, of calls of `rest()` as fast as they go."""

    def burst():
        answers = at_once([lambda: rest().get("/v1/sites")] * 8)
        return [answer for answer in answers if answer.status_code == 429]

    return wait_until(burst, 60, "a call is refused")[0]


def check_refusal(answer):
    status = check(answer, 429, "RESOURCE_EXHAUSTED")
    assert details(status, error_details_pb2.RetryInfo).retry_delay.seconds == 1
    assert details(status, error_details_pb2.ErrorInfo).reason == "NOT_FORWARDED"
    assert answer.headers["retry-after"] == "1"


@pytest.fixture
def caller(issuer):
    """`caller(gateway, ...)`: a client of another subject at each call."""
    numbers = itertools.count()

    def make(gateway, **claims):
        return gateway.rest(issuer.token(**{"sub": f"meter-{next(numbers)}", **claims}))

    return make


def test_calls_of_a_subject(start_gateway, echo, caller):
    gateway = start_gateway([echo.port], rate_limits={"subject_per_second": 1})
    eager = caller(gateway)
    check_refusal(refusal(lambda: eager))
    # Each subject has its own, also of the same sites.
    others = [caller(gateway, site_ids=["1"]) for _ in range(20)]
    assert all(other.get("/v1/sites").ok for other in others)


def test_calls_of_the_same_sites(start_gateway, echo, caller):
    gateway = start_gateway([echo.port], rate_limits={"bound_sites_per_second": 1})
    check_refusal(refusal(lambda: caller(gateway, site_ids=["1"])))
    assert all(caller(gateway, site_ids=[str(n)]).get("/v1/sites").ok for n in range(2, 20))
    assert all(caller(gateway).get("/v1/sites").ok for _ in range(20))


def test_all_calls(start_gateway, echo, caller):
    gateway = start_gateway([echo.port], rate_limits={"all_per_second": 1})
    check_refusal(refusal(lambda: caller(gateway)))


def grpc_refusal(gateway, token):
    """The first error of gRPC calls as fast as they go."""
    stubs = gateway.stubs(token)

    def burst():
        calls = [stubs.sites.ListSites.future(LIST, timeout=30) for _ in range(8)]
        return next((call for call in calls if call.exception()), None)

    try:
        return wait_until(burst, 60, "a call is refused")
    finally:
        stubs.close()


def check_grpc_refusal(error):
    assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    metadata = dict(error.trailing_metadata())
    assert metadata["retry-after"] == "1" and metadata["grpc-retry-pushback-ms"] == "1000"
    status = rpc_status.from_call(error)
    assert details(status, error_details_pb2.RetryInfo).retry_delay.seconds == 1


def test_over_grpc(start_gateway, echo, issuer):
    gateway = start_gateway([echo.port], rate_limits={"subject_per_second": 1})
    check_grpc_refusal(grpc_refusal(gateway, issuer.token()))


def test_limits_that_gateways_share(start_gateway, echo, issuer, tmp_path):
    limits = RateLimit(tmp_path, [
        {"key": "subject", "rate_limit": {"unit": "hour", "requests_per_unit": 10}},
    ])  # fmt: skip
    try:
        shared = {"rate_limits": {"service": limits.address}}
        one, other = (start_gateway([echo.port], **shared) for _ in range(2))
        token = issuer.token()
        check_refusal(refusal(lambda: one.rest(token)))
        # What one gateway has seen counts at the other one.
        check_refusal(refusal(lambda: other.rest(token)))
        check_grpc_refusal(grpc_refusal(other, token))
        assert other.rest(issuer.token(sub="meter-8")).get("/v1/sites").ok
    finally:
        limits.stop()
    # Without it the gateway's own buckets are what is left.
    assert one.rest(token).get("/v1/sites").ok


class Small(Envoy):
    """With room for three connections."""

    def run(self, configuration, *arguments):
        config = yaml.safe_load(configuration)
        monitor, _ = config["overload_manager"]["resource_monitors"]
        monitor["typed_config"]["max_active_downstream_connections"] = 3
        super().run(yaml.safe_dump(config), *arguments)


@pytest.mark.one_server("about an Envoy that no other test may have")
def test_connections(tmp_path):
    envoy = Small(1, tmp_path, ready=False)
    with contextlib.ExitStack() as stack:
        stack.callback(envoy.process.kill)

        def is_served():
            """A new connection, which stays open if it is."""
            connection = http.client.HTTPConnection("127.0.0.1", envoy.port, timeout=30)
            stack.callback(connection.close)
            with contextlib.suppress(ConnectionError):
                connection.request("GET", "/livez")
                assert connection.getresponse().status == 200
                return connection

        # The one of the wait for its start may be open yet.
        served = [wait_until(is_served, 30, "there is room") for _ in range(3)]
        assert not is_served()
        served[0].close()
        wait_until(is_served, 30, "there is room for another")
