"""What one client may not do to the others."""

import contextlib
import functools
import resource
import socket

import grpc
import pytest
from energysites.v1 import sites_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from support.calls import create_site, fail, site
from support.process import wait_until


def test_a_compressed_message_is_refused_before_it_is_inflated(stubs):
    """Regression: gRPC inflated 250 KiB to 256 MiB before it looked at the size."""
    for algorithm in (grpc.Compression.Gzip, grpc.Compression.Deflate):
        create = functools.partial(stubs.sites.CreateSite, compression=algorithm)
        failure = fail(create, sites_pb2.CreateSiteRequest(site=site(name="x" * 4000)))
        assert failure.code == "UNIMPLEMENTED" and "Compression" in failure.text


def answers(address):
    """Whether a client that comes now is served."""
    with grpc.insecure_channel(address) as channel:
        try:
            health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=5)
        except grpc.RpcError:
            return False
    return True


@pytest.mark.one_server("about the port and the descriptors of a process")
def test_a_server_that_ran_out_of_descriptors_takes_clients_again(server, stubs):
    """Regression: gRPC gave up its listener for good."""
    create_site(stubs)
    limit = 256
    resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (limit, limit))
    host, port = server.address.split(":")
    with contextlib.ExitStack() as connections:
        for _ in range(limit + 50):
            connections.enter_context(socket.create_connection((host, int(port)), timeout=10))
        # Who was there before is served, with what is left for the database.
        assert create_site(stubs).id
    wait_until(lambda: answers(server.address), 30, "a new client is served")
