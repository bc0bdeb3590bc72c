"""What one client may not do to the others."""

import concurrent.futures
import contextlib
import functools
import resource
import socket
import threading

import grpc
import pytest
from attacks import hostile
from attacks.caller import Caller
from attacks.http2 import Connection, Cut, Target
from energysites.v1 import live_data_pb2, sites_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from hyperframe.frame import DataFrame, HeadersFrame, SettingsFrame
from support.calls import JUNE, create_site, entry, fail, failure_of, site, stamp, store_many
from support.process import wait_until
from support.stubs import Stubs

BATCH_CREATE = "/energysites.v1.LiveData/BatchCreateLiveDataEntries"
# Of 3,900 KiB: with it, 12 messages are nearly all that a server has room for.
UNKNOWN_FIELD = b"\xfa\x7f\x80\xe0\xf3\x01" + bytes(3900 * 1024)


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


@pytest.mark.memory
@pytest.mark.one_server("the gateway holds answers back itself")
def test_answers_that_nobody_takes_have_a_limit(server, database):
    """Regression: they took as much memory as calls could ask for until they ended."""
    clients = Stubs(server.address)
    store_many(clients, database, 1000)
    calls = 900  # Of 90 KB each, and so more than twice as much as may wait.
    page = live_data_pb2.ListLiveDataEntriesRequest(page_size=1000)

    def list_page():
        try:
            return clients.live_data.ListLiveDataEntries(page, timeout=30)
        except grpc.RpcError as error:
            return failure_of(error)

    reader = Connection(Target(*server.address.split(":")), {SettingsFrame.INITIAL_WINDOW_SIZE: 0})
    with contextlib.closing(reader):
        body = hostile.message(hostile.PAGE_OF_1000)
        for stream in range(1, 2 * calls, 2):
            request = DataFrame(stream, body, flags=["END_STREAM"])
            reader.send(reader.open(stream, hostile.LIST_ENTRIES), request)
        failure = wait_until(lambda: getattr(list_page(), "reason", None), 60, "there is no more room")
        assert failure == "QUEUE_FULL"
        # Calls whose answers are never large go on.
        assert create_site(clients).id
        assert server.process.peak_mib() < 150
    wait_until(lambda: not hasattr(list_page(), "reason"), 30, "there is room again")
    clients.close()


@pytest.mark.memory
@pytest.mark.one_server("the gateway limits connections itself")
def test_thousands_of_connections_leave_room(start_server, database):
    """Regression: each took 40 KiB, and their number had no limit but the system's."""
    server = start_server(database)
    target = Target(*server.address.split(":"))
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(limit[1], 8192), limit[1]))
    with contextlib.ExitStack() as connections:
        connections.callback(resource.setrlimit, resource.RLIMIT_NOFILE, limit)
        stubs = connections.enter_context(contextlib.closing(Stubs(server.address)))
        create_site(stubs)
        for _ in range(3000):
            with contextlib.suppress(Cut):
                connection = connections.enter_context(contextlib.closing(Connection(target)))
                connection.send(HeadersFrame(1, connection.block(hostile.GET_SITE)))
        assert create_site(stubs).id
        assert server.process.peak_mib() < 150
    wait_until(lambda: answers(server.address), 30, "a new client is served")


@pytest.mark.memory
@pytest.mark.one_server("the gateway sends messages on as a whole")
def test_large_messages_on_slow_lines_are_all_taken(server, stubs, database):
    """Regression: large messages on a slow line were taken for some without end."""
    site_id = create_site(stubs).id
    clients, pieces = 12, 40
    target = Target(*server.address.split(":"))
    together = threading.Barrier(clients)
    numbers = iter(range(clients))

    def upload(_):
        first = JUNE + 100 * next(numbers)
        entries = [entry(site_id, dt_stamp=stamp(first + second)) for second in range(100)]
        request = live_data_pb2.BatchCreateLiveDataEntriesRequest(entries=entries)
        data = hostile.message(request.SerializeToString() + UNKNOWN_FIELD)
        size = len(data) // pieces + 1
        with contextlib.closing(Connection(target)) as connection:
            connection.send(connection.open(1, BATCH_CREATE))
            for start in range(0, len(data), size):
                together.wait(30)
                connection.upload(1, data[start : start + size], seconds=30, end=False)
                # Behind the last one may come the answer, which is for `hold`.
                if start + size < len(data):
                    connection.receive(0.05)
            connection.send(DataFrame(1, flags=["END_STREAM"]))
            with pytest.raises(Cut, match="answered"):
                hostile.hold(connection, 30)

    assert hostile.on_connections(clients, upload)["cut"] == 0
    assert database.query("SELECT count(*) FROM live_data") == [(100 * clients,)]
