"""How long it takes for something to come true, and how long a fault lasts."""

import time

from grpc_health.v1 import health_pb2, health_pb2_grpc

from support.process import wait_until

SERVICE = "energysites.v1.LiveData"


def is_serving(stubs):
    check = health_pb2_grpc.HealthStub(stubs.channel).Check
    answer = check(health_pb2.HealthCheckRequest(service=SERVICE), timeout=5)
    return answer.status == health_pb2.HealthCheckResponse.SERVING


def seconds_until(condition, what, limit=60):
    """How long it took for `condition()` to come true."""
    start = time.monotonic()
    wait_until(condition, limit, what)
    return time.monotonic() - start


def last(seconds):
    """Lets a fault last: its length is a part of it, and nothing is waited for."""
    time.sleep(max(seconds, 0))
