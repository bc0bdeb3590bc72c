"""What the production gateway tells of each call, and what it keeps to itself."""

import concurrent.futures
import json
import re

import grpc
import pytest

from support.process import wait_until

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = f"00-{TRACE}-00f067aa0ba902b7-01"
# A query and a body with values that nobody else is to read.
REQUEST_ID = "5c7dbb6e-3c0e-4d3a-9a53-4f4f4e7d0a11"
CREATE = f"/v1/sites?request_id={REQUEST_ID}"
SECRET = "Farm of Novak"


def logged(gateway, answer):
    """The line of the call that was answered so."""

    def line():
        lines = re.findall(r"^\{.*\}$", gateway.process.log.read_text(), re.MULTILINE)
        own = answer.headers["x-request-id"]
        return next((one for one in map(json.loads, lines) if one["request_id"] == own), None)

    return wait_until(line, 30, "the call is in the log")


def test_the_access_log(gateway, guarded_server, issuer):
    """Who called what when, with ids for traces, and no value that the caller sent."""
    rest = gateway.rest(issuer.token(), traceparent=TRACEPARENT)
    created = rest.post(CREATE, {"name": SECRET})
    assert created.status_code == 400
    found = logged(gateway, created)
    assert found["path"] == "/energysites.v1.Sites/CreateSite" and found["subject"] == "meter-7"
    assert found["status"] == 400
    assert TRACE in found["traceparent"]
    # The service's own line of the call is found by the same id.
    own = f'"x_request_id":"{found["request_id"]}"'
    wait_until(lambda: own in guarded_server.log_text(), 10, "it is in the service's log, too")
    text = gateway.process.log.read_text()
    assert not [value for value in (SECRET, REQUEST_ID, "Bearer") if value in text]


@pytest.fixture
def collector():
    """Takes spans: `address`, and the requests that came as `exported`."""

    class Collector(grpc.GenericRpcHandler):
        exported = []

        def service(self, handler_call_details):
            def export(request, _):
                self.exported.append(request)
                return b""

            return grpc.unary_unary_rpc_method_handler(export)

    handler = Collector()
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(2), [handler])
    handler.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    yield handler
    server.stop(0).wait()


def test_the_trace_goes_on_to_the_service(start_gateway, echo, issuer):
    gateway = start_gateway([echo.port])
    assert gateway.rest(issuer.token(), traceparent=TRACEPARENT).get("/v1/sites").ok
    assert echo.headers()["traceparent"] == TRACEPARENT


def test_spans(start_gateway, echo, issuer, collector):
    gateway = start_gateway([echo.port], tracing={
        "collector": collector.address, "sampled_percent": 100,
    })  # fmt: skip
    rest = gateway.rest(issuer.token(), traceparent=TRACEPARENT)
    assert rest.post(CREATE, {"name": SECRET}).ok
    # The service's span is a child of the gateway's.
    sent = echo.headers()["traceparent"]
    assert TRACE in sent and sent != TRACEPARENT
    spans = b""

    def ours():
        nonlocal spans
        spans = b"".join(collector.exported)
        return bytes.fromhex(TRACE) in spans

    wait_until(ours, 60, "the collector has the span")
    assert b"energy-sites-gateway" in spans
    assert not [text for text in (SECRET, REQUEST_ID, "Bearer") if text.encode() in spans]


def test_the_log_knows_the_trace_of_a_call_that_brings_none(start_gateway, echo, issuer, collector):
    gateway = start_gateway([echo.port], tracing={"collector": collector.address})
    found = logged(gateway, gateway.rest(issuer.token()).get("/v1/sites"))
    _, trace, _, _ = echo.headers()["traceparent"].split("-")
    assert found["trace_id"] == trace
