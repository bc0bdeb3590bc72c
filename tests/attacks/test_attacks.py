"""Under every attack the server lives, stays small, and serves others as if nothing happened.

The short form is the default; ATTACK_SCALE=10 attacks ten times as much.
"""

import concurrent.futures
import multiprocessing
import os
import resource

import grpc
import pytest
from attacks import hostile
from attacks.caller import Caller, p99
from attacks.http2 import Target
from energysites.v1 import live_data_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from support.calls import JUNE, create_site, entry, stamp
from support.process import wait_until

SCALE = int(os.environ.get("ATTACK_SCALE", "1"))
MOST_MIB = 150
# Of Envoy. What it holds at once may be a part more, for it looks at its memory four times a second.
HEAP_LIMIT_MIB = 512
MOST_ENVOY_MIB = 600
DESCRIPTORS = 1024
QUIET_CALLS = 200
# Until its connections are cut, messages that have used up the room for them may have gRPC reset a
# call of others.
REFUSED_WITHOUT_ENVOY = {"unfinished_messages"}


@pytest.fixture(params=["bare", "envoy"])
def edge(request):
    return request.param


def fill(stubs):
    """Enough entries for answers that nobody wants to keep."""
    site = create_site(stubs).id
    for batch in range(5):
        entries = [entry(site, dt_stamp=stamp(JUNE + batch * 2000 + n)) for n in range(2000)]
        stubs.live_data.BatchCreateLiveDataEntries(
            live_data_pb2.BatchCreateLiveDataEntriesRequest(entries=entries), timeout=60
        )


def is_serving(address):
    """What a client says that comes after the attack."""
    with grpc.insecure_channel(address) as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(
                health_pb2.HealthCheckRequest(service="energysites.v1.Sites"), timeout=5
            )
        except grpc.RpcError:
            return False
    return answer.status == health_pb2.HealthCheckResponse.SERVING


def run(attack, port):
    """In a process of its own, so that the attack does not slow down those who measure it."""
    with concurrent.futures.ProcessPoolExecutor(
        1, mp_context=multiprocessing.get_context("spawn")
    ) as processes:
        return processes.submit(attack, Target("127.0.0.1", port), SCALE).result(120 * SCALE)


@pytest.mark.parametrize("attack", hostile.ALL, ids=lambda attack: attack.__name__)
def test_attack(server, stubs, edge, start_envoy, attack, report):
    fill(stubs)
    front = server
    if edge == "envoy":
        front = start_envoy(server.port, heap_limit_mib=HEAP_LIMIT_MIB)
    resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))
    idle = server.process.peak_mib()
    caller = Caller(front.address)
    caller.start()
    try:
        wait_until(lambda: len(caller.milliseconds) >= QUIET_CALLS, 60, "the caller is measured")
        quiet = p99(caller.take_milliseconds())
        cut = run(attack, front.port)
        busy = caller.take_milliseconds()
        wait_until(lambda: is_serving(front.address), 30, "a new client is served")
    finally:
        caller.stop()
    peak = server.process.peak_mib()
    memory = f"server {idle:.0f} MiB before and {peak:.0f} MiB at most"
    if edge == "envoy":
        envoy_peak = front.process.peak_mib()
        memory += f", Envoy {envoy_peak:.0f} MiB"
    report(
        f"{attack.__name__} on {edge}: {cut} connections cut; {memory}; others' p99 {quiet:.1f} ms"
        f" quiet, {p99(busy):.1f} ms of {len(busy)} calls under attack"
    )
    assert server.process.runs() and front.process.runs()
    if edge == "envoy" or attack.__name__ not in REFUSED_WITHOUT_ENVOY:
        assert not caller.wrong
    if edge == "envoy":
        assert envoy_peak <= MOST_ENVOY_MIB
    assert peak <= MOST_MIB
