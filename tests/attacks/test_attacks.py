"""Under every attack the server lives, stays small, and serves others as if nothing happened.

Some attacks on its own port, which is for trusted callers, it only survives: Envoy bounds them.

The short form is the default; ATTACK_SCALE=10 attacks ten times as much.
"""

import concurrent.futures
import contextlib
import functools
import multiprocessing
import os
import resource

import grpc
import pytest
from attacks import hostile, impostors, proofs
from attacks.caller import Caller, Newcomers, p99
from attacks.http2 import Target
from energysites.v1 import live_data_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from support.calls import JUNE, create_site, entry, stamp
from support.gateway import server_tls
from support.process import wait_until
from support.stubs import OWN_CONNECTION, Stubs

SCALE = int(os.environ.get("ATTACK_SCALE", "1"))
MOST_MIB = 150
# Of Envoy. What it holds at once may be a part more, for it looks at its memory four times a second.
HEAP_LIMIT_MIB = 512
MOST_ENVOY_MIB = 600
DESCRIPTORS = 1024
QUIET_CALLS = 200
# They take memory that gRPC does not bound, or that is then not there for others' calls.
SURVIVED = {("rapid_reset", "bare"), ("unfinished_messages", "bare"), ("continuation_flood", "bare")}
# New clients find no descriptor that is free.
NEWCOMERS_REFUSED = {("many_connections", "bare"), ("many_connections", "envoy")}


def fill(stubs):
    """Enough entries for answers that nobody wants to keep."""
    site = create_site(stubs).id
    for batch in range(5):
        entries = [entry(site, dt_stamp=stamp(JUNE + batch * 2000 + n)) for n in range(2000)]
        stubs.live_data.BatchCreateLiveDataEntries(
            live_data_pb2.BatchCreateLiveDataEntriesRequest(entries=entries), timeout=60
        )


def of_gateway(certificates):
    """What the gateway shows to a server."""

    def read(name):
        return (certificates / name).read_bytes()

    return grpc.ssl_channel_credentials(read("ca.pem"), read("gateway.key"), read("gateway.pem"))


def is_serving(address, credentials=None):
    """What a client says that comes over a connection of its own."""
    with contextlib.closing(Stubs(address, credentials, options=OWN_CONNECTION)) as stubs:
        try:
            answer = health_pb2_grpc.HealthStub(stubs.channel).Check(
                health_pb2.HealthCheckRequest(service="energysites.v1.Sites"), timeout=5
            )
        except grpc.RpcError:
            return False
    return answer.status == health_pb2.HealthCheckResponse.SERVING


def run(attack, port, tls=False):
    """In a process of its own, so that the attack does not slow down those who measure it."""
    with concurrent.futures.ProcessPoolExecutor(
        1, mp_context=multiprocessing.get_context("spawn")
    ) as processes:
        return processes.submit(attack, Target("127.0.0.1", port, tls), SCALE).result(120 * SCALE)


def under_attack(attack, front, caller, is_served, tls=False):
    """What the attack has seen, what others felt, as a text, and how many new clients were refused."""
    caller.start()
    try:
        wait_until(lambda: len(caller.milliseconds) >= QUIET_CALLS, 60, "the caller is measured")
        quiet = p99(caller.take_milliseconds())
        with Newcomers(is_served) as newcomers:
            seen = run(attack, front.port, tls)
        busy = caller.take_milliseconds()
        wait_until(is_served, 30, "a new client is served")
    finally:
        caller.stop()
    felt = (
        f"others' p99 {quiet:.1f} ms quiet, {p99(busy):.1f} ms of {len(busy)} calls under attack;"
        f" slowest of {len(newcomers.milliseconds)} new clients {max(newcomers.milliseconds):.0f} ms"
    )
    return seen, felt, newcomers.refused


ATTACKS = [(attack, edge) for attack in hostile.ALL for edge in ("bare", "envoy")]
ATTACKS += [(attack, "envoy") for attack in hostile.FOR_ENVOY]


@pytest.mark.parametrize(
    ("attack", "edge"), ATTACKS, ids=[f"{attack.__name__}-{edge}" for attack, edge in ATTACKS]
)
def test_attack(server, stubs, edge, start_envoy, attack, report):
    fill(stubs)
    front = server
    if edge == "envoy":
        front = start_envoy(server.port, heap_limit_mib=HEAP_LIMIT_MIB)
    for process in {server.process, front.process}:
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS))
    idle = server.process.peak_mib()
    caller = Caller(front.stubs())
    seen, felt, refused = under_attack(
        attack, front, caller, lambda: is_serving(front.address)
    )
    peak = server.process.peak_mib()
    memory = f"server {idle:.0f} MiB before and {peak:.0f} MiB at most"
    if edge == "envoy":
        envoy_peak = front.process.peak_mib()
        memory += f", Envoy {envoy_peak:.0f} MiB"
    name = attack.__name__
    report(f"{name} on {edge}: {dict(seen)}; {memory}; {felt}")
    assert server.process.runs() and front.process.runs()
    assert not proofs.missing(name, edge, seen), seen
    if (name, edge) in SURVIVED:
        return
    assert not caller.wrong
    if (name, edge) not in NEWCOMERS_REFUSED:
        assert not refused
    if edge == "envoy":
        assert envoy_peak <= MOST_ENVOY_MIB
    assert peak <= MOST_MIB


@pytest.mark.parametrize("edge", ["bare", "gateway"])
def test_bad_tokens(start_server, database, start_gateway, certificates, issuer, edge, report):
    """On the production gateway, and on the port of a server that knows callers only from it."""
    server = start_server(database, flags=server_tls(certificates))
    gateway = start_gateway([server.port], heap_limit_mib=HEAP_LIMIT_MIB)
    front, is_served = gateway, lambda: gateway.answers(200)
    if edge == "bare":
        front, is_served = server, lambda: is_serving(server.address, of_gateway(certificates))
    caller = Caller(gateway.stubs(issuer.token()))
    attack = functools.partial(impostors.bad_tokens, tokens=list(issuer.bad_tokens().values()))
    seen, felt, refused = under_attack(attack, front, caller, is_served, tls=True)
    peak, envoy_peak = server.process.peak_mib(), gateway.process.peak_mib()
    report(
        f"bad_tokens on {edge}: {dict(seen)}; server {peak:.0f} MiB at most, Envoy {envoy_peak:.0f} MiB;"
        f" {felt}"
    )
    assert server.process.runs() and gateway.process.runs()
    assert seen["UNAUTHENTICATED"] == seen["calls"] >= 1000 and not seen["cut"]
    assert not caller.wrong and not refused
    assert envoy_peak <= MOST_ENVOY_MIB
    assert peak <= MOST_MIB
