"""Bodies of REST writes, valid ones and mutations of them, by a seed."""

import json
import random

from energysites.v1 import configurations_pb2, live_data_pb2, sites_pb2

# By method and path: the body's message, and its place in the request.
WRITES = {
    ("POST", "/v1/sites"): (sites_pb2.Site, "site"),
    ("PATCH", "/v1/sites/3"): (sites_pb2.Site, "site"),
    ("DELETE", "/v1/sites/3"): (sites_pb2.DeleteSiteRequest, ""),
    ("POST", "/v1/sites/3/configurations"): (configurations_pb2.Configuration, "configuration"),
    ("PATCH", "/v1/sites/3/configurations/4"): (configurations_pb2.Configuration, "configuration"),
    ("POST", "/v1/liveData"): (live_data_pb2.LiveDataEntry, "live_data_entry"),
    ("POST", "/v1/liveData:batchCreate"): (live_data_pb2.BatchCreateLiveDataEntriesRequest, ""),
}
# What a mutation puts into a body.
PIECES = [
    b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":", b"'", b"0", b"-", b".", b"e", b"+", b" ", b"\n", b"\t",
    b"null", b"true", b"nul", b"tru", b"fals", b"NaN", b"Infinity", b"-0", b"01", b"1.", b".5", b"1e", b"1e5",
    b"1E-5", b"1e400", b"-1e400", b"1e-400", b"9" * 400, b"-", b"--1", b"0x1", b"\\u0041", b"\\u00", b"\\ud800",
    b"\\ud83d\\ude00", b"\\udc00", b"\\ud800\\u0041", b"\\x41", b"\\/", b"\\b", b"\\n", b"\\u0000", b"\0", b"\x01",
    b"\x1f", b"\x7f", b"\x80", b"\xff", b"\xc0\x80", b"\xc3", b"\xc3\xa9", b"\xe2\x82\xac", b"\xe2\x82",
    b"\xed\xa0\x80", b"\xf0\x9f\x98\x80", b"\xf4\x90\x80\x80", b"\xef\xbb\xbf", b"/**/", b"//", b'"":1,',
    b'{"seconds":1}', b"[null]", b"[null,{}]", b"[[]]", b'"x":{"dt_stamp":{}},', b'"nmae":1,', b"{},", b"[1,",
    b"[" * 99, b"[" * 101, b'{"a":' * 120, b"\v", b"\xa0", b"\xe2\x80\xa8",
]  # fmt: skip


def bodies(seed, count):
    """`((method, path), body)`, `count` times: the same for the same seed."""
    generator = random.Random(seed)
    for _ in range(count):
        call = generator.choice(list(WRITES))
        message, _ = WRITES[call]
        value = _object(generator, message.DESCRIPTOR, 0)
        body = _text(generator, value).encode("utf-8", "surrogatepass")
        for _ in range(generator.choice((0, 0, 1, 1, 2, 5))):
            body = _mutated(generator, body)
        yield call, body


def _object(generator, message, depth):
    """Members of a message, most of them known, as a list of pairs."""
    members = []
    for _ in range(generator.randint(0, 6)):
        field = generator.choice(message.fields)
        name = generator.choice((field.name, field.camelcase_name))
        if generator.random() < 0.1:
            name = generator.choice((name + "x", name.upper(), "", "é", "\u2028", '"', "\\", name[:-1], "a.b"))
        inner = field.message_type
        if inner and inner.file.package != "google.protobuf" and generator.random() < 0.9:
            value = _object(generator, inner, depth + 1)
            if field.is_repeated:
                elements = range(generator.randint(0, 4))
                value = [
                    None if generator.random() < 0.1 else _object(generator, inner, depth + 1)
                    for _ in elements
                ]
        else:
            value = _scalar(generator, depth)
        members.append((name, value))
    return tuple(members)


def _scalar(generator, depth):
    kind = generator.randrange(11)
    if kind < 2 and depth < 4:
        nested = [_scalar(generator, depth + 1) for _ in range(generator.randint(0, 3))]
        return nested if kind else tuple((generator.choice("abc"), one) for one in nested)
    return generator.choice((
        None, True, False, 0, -1, 17, 2**63, 55.25, 1e-7, 1.5e300, "", "17", "2016-06-01T00:00:00Z",
        "Farma Novák", "\U0001f600", '"\\/\b', "\u0001", "x" * 300,
    ))  # fmt: skip


def _text(generator, value):
    """As JSON, with white space and escapes where they may be."""

    def space():
        return generator.choice(("", "", "", " ", "\n\t", "\r\n  "))

    if isinstance(value, tuple):
        members = [
            f"{space()}{_text(generator, name)}{space()}:{space()}{_text(generator, member)}{space()}"
            for name, member in value
        ]
        return "{" + (",".join(members) or space()) + "}"
    if isinstance(value, list):
        elements = [f"{space()}{_text(generator, one)}{space()}" for one in value]
        return "[" + (",".join(elements) or space()) + "]"
    if isinstance(value, str) and generator.random() < 0.1:
        units = value.encode("utf-16-be")
        return '"' + "".join(f"\\u{units[i]:02x}{units[i + 1]:02X}" for i in range(0, len(units), 2)) + '"'
    return json.dumps(value, ensure_ascii=generator.random() < 0.5)


def _mutated(generator, body):
    at = generator.randrange(len(body) + 1)
    end = min(len(body), at + generator.randint(1, 12))
    kind = generator.randrange(6)
    if kind == 0:
        return body[:at] + generator.choice(PIECES) + body[at:]
    if kind == 1:
        return body[:at] + generator.choice(PIECES) + body[end:]
    if kind == 2:
        return body[:at] + body[end:]
    if kind == 3:
        return body[:end] + body[at:]
    if kind == 4 and body:
        at = min(at, len(body) - 1)
        return body[:at] + bytes([body[at] ^ 1 << generator.randrange(8)]) + body[at + 1 :]
    return body[:at]
