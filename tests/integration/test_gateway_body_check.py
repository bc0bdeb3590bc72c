"""The gateway refuses bodies of REST writes of which a part would be dropped, or misread.

Behind most of these gateways is no service: what passes the check is refused by the transcoder, or
because there is no healthy instance.
"""

import json
import threading
import time

import pytest
from energysites.v1 import sites_pb2
from google.protobuf import json_format
from google.rpc import error_details_pb2, status_pb2

from support.body_fuzz import WRITES, bodies
from support.body_judge import NO_JSON, judge
from support.envoy import Rest, local_settings, render
from support.process import free_ports
from support.rest_errors import check, details

pytestmark = pytest.mark.one_server("about gateways with no service behind them")

LIMIT = 4 << 20
BATCH = ("POST", "/v1/liveData:batchCreate")


@pytest.fixture(params=["local", "production"])
def rest(request, start_envoy, start_gateway, issuer):
    port = free_ports(1)
    if request.param == "local":
        return Rest(start_envoy(*port, ready=False).url)
    return start_gateway(port, ready=False).rest(issuer.token())


@pytest.fixture
def envoy(start_envoy):
    return start_envoy(*free_ports(1), ready=False)


def verdict(response):
    """NO_JSON, or the violations as `(field, reason)`."""
    status = json_format.Parse(response.text, status_pb2.Status())
    info = details(status, error_details_pb2.ErrorInfo)
    if info.domain != "energysites.v1":
        return []
    assert response.status_code == 400 and response.headers["content-type"] == "application/json"
    if info.reason == "MALFORMED_REQUEST":
        return NO_JSON
    violations = details(status, error_details_pb2.BadRequest).field_violations
    return [(violation.field, violation.reason) for violation in violations]


def unknown(*names):
    return [(name, "field.known") for name in names]


# Every REST path that writes, and what a field that it does not know is called.
UNKNOWN = {
    ("POST", "/v1/sites"): "site.nmae",
    ("PATCH", "/v1/sites/1"): "site.nmae",
    ("POST", "/v1/sites/1/configurations"): "configuration.nmae",
    ("POST", "/v1/configurations?validate_only=true"): "configuration.nmae",
    ("PATCH", "/v1/sites/1/configurations/2"): "configuration.nmae",
    ("POST", "/v1/sites/1/liveData"): "live_data_entry.nmae",
    ("POST", "/v1/liveData"): "live_data_entry.nmae",
    BATCH: "nmae",
    ("DELETE", "/v1/sites/1?etag=1"): "nmae",
    ("DELETE", "/v1/sites/1/configurations/2?validate_only=true"): "nmae",
    ("DELETE", "/v1/sites/1/liveData/2"): "nmae",
}


def test_every_write(rest):
    for call, field in UNKNOWN.items():
        assert verdict(rest.call(*call, json={"nmae": "A"})) == unknown(field), call
        assert verdict(rest.call(*call, json={})) == [], call


# Method, path, body -> what is refused.
TABLE = [
    ("POST", "/v1/sites", '{"name": "x", "nmae": "y", "a": {"b": [{}]}}', unknown("site.nmae", "site.a")),
    ("PATCH", "/v1/sites/7?update_mask=name", '{"Name": "x"}', unknown("site.Name")),
    ("POST", "/v1/liveData", '{"sco": 1, "dt_stamp": "t"}', unknown("live_data_entry.sco")),
    (
        *BATCH,
        '{"entries": [{"soc": 1}, {"sco": 1}, {"loads": [1, {"x": 2}], "sco": 2}], "return_partial_sucess": true}',
        unknown("entries[1].sco", "entries[2].loads", "entries[2].sco", "return_partial_sucess"),
    ),
    # Both names of a field, twice too, and written with escapes.
    (
        *BATCH,
        '{"requestId": "x", "validate_only": true, "entries": [{"siteId": 1, "dt_stamp": "t", "loadKwh": null,'
        ' "net_load_kwh": [], "soc": 1, "soc": 2, "\\u0073\\u006Fc": 3}]}',
        [],
    ),
    ("POST", "/v1/sites", '{"n\\u006dae": 1, "\\ud83d\\ude00": 2}', unknown("site.nmae", "site.\U0001f600")),
    ("POST", "/v1/sites", '{"nmae": 1, "nmae": 2, "": 3}', unknown("site.nmae", "site.nmae", "site.")),
    # What looks like a name, but is within a text.
    ("POST", "/v1/sites", r'{"name": "\",\"nmae\":1", "location": "{\"nmae\":1}\\"}', []),
    # Regression: a misspelt validate_only deleted what it was to spare.
    ("DELETE", "/v1/sites/7", '{"validate_onli": true, "etagg": "1"}', unknown("validate_onli", "etagg")),
    ("DELETE", "/v1/sites/7?etag=1", '{"validateOnly": true}', []),
    ("DELETE", "/v1/sites/7", "", []),
    # Regression: {"second": 1714564800} was stored as the beginning of 1970.
    (
        "POST", "/v1/liveData", '{"dt_stamp": {"second": 1}, "create_time": {}}',
        [("live_data_entry.dt_stamp", "json.text"), ("live_data_entry.create_time", "json.text")],
    ),
    (
        *BATCH, '{"entries": [{"dt_stamp": "t"}, {"dtStamp": {"seconds": [{}]}}]}',
        [("entries[1].dtStamp", "json.text")],
    ),
    # Regression: null was dropped, and the errors of the entries behind it named the wrong ones.
    (
        *BATCH, '{"entries": [null, {"soc": null}, null]}',
        [("entries[0]", "json.null"), ("entries[2]", "json.null")],
    ),
    (*BATCH, '{"entries": null, "request_id": [null]}', []),
    # Regression: DELETE /v1/sites/13?id=12 deleted 12.
    ("DELETE", "/v1/sites/13?x=1&id=12", "", [("id", "path.once")]),
    ("PATCH", "/v1/sites/3?site%2Eid=4&update_mask=name", "{}", [("site.id", "path.once")]),
    ("DELETE", "/v1/sites/3/liveData/4?siteId=5&id", "", [("siteId", "path.once"), ("id", "path.once")]),
    (
        "PATCH", "/v1/sites/3/configurations/4?configuration.siteId=5", '{"x": 1}',
        [("configuration.siteId", "path.once"), *unknown("configuration.x")],
    ),
    # Regression: a name with one part spelt as JSON spells it was let through.
    ("POST", "/v1/sites/3/liveData?live_data_entry.siteId=4", "{}", [("live_data_entry.siteId", "path.once")]),
    ("DELETE", "/v1/sites/13?etag=id&validate_only=true", "", []),
    ("POST", "/v1/liveData?live_data_entry.site_id=3", "{}", []),
    # No body of the contract.
    ("POST", "/v1/sites", "", []),
    ("POST", "/v1/sites", " \n\v\f", []),
    ("POST", "/v1/sites", "null", []),
    ("PUT", "/v1/sites", '{"nmae": "y"}', []),
    ("POST", "/v1/sites/7", '{"nmae": "y"}', []),
    ("POST", "/v2/sites", '{"nmae": "y"}', []),
    # Envoy's parser takes more than JSON: what is no JSON could hide a field from the check.
    *(
        ("POST", "/v1/sites", body, NO_JSON)
        for body in (
            "{", "{nmae: 1}", "{'nmae': 1}", '{"name": "x"} {"nmae": 1}', '{"name": "x",}', b'{"name": "\xff"}',
            b"\0{}", b'{"name": 1}\0{"nmae": 1}', "[" * 200, "7", '"x"', "[]", '[{"nmae": 1}]', '{"name": NaN}',
            '{"name": "a\nb"}', '{"name": "\\udc00"}', '{"name": 1e400}', '{"a":' * 101 + "1" + "}" * 101,
        )
    ),
    ("POST", "/v1/sites", '{"a":' * 100 + "1" + "}" * 100, unknown("site.a")),
    # The paths that Envoy finds.
    *(
        ("POST", path, '{"x": 1}', unknown("x"))
        for path in ("/v1/liveData%3AbatchCreate", "/v1/liveData:batch%43reate/", "/v1/liveData/batchCreate")
    ),
    ("POST", "//v1//./sites", '{"x": 1}', unknown("site.x")),
    ("POST", "/v1/site%73", '{"x": 1}', unknown("site.x")),
]  # fmt: skip


def test_table(rest):
    for method, path, body, expected in TABLE:
        data = body if isinstance(body, bytes) else body.encode()
        assert verdict(rest.call(method, path, data=data)) == expected, (method, path, body)


# White space, an escape or a character at each place; each with the byte where it begins.
FAULTS = {
    '{"name":"a","location":"x",}': ("Missing a name for object member.", 27),
    ' \n{"name" "a"}': ("Missing a colon after a name of object member.", 10),
    '{"name":"a" 1': ("Missing a comma or '}' after an object member.", 12),
    '{"name":[1 2]}': ("Missing a comma or ']' after an array element.", 11),
    '{"name": ': ("Invalid value.", 9),
    '{"name": nul': ("Invalid value.", 12),
    '{"name": -x': ("Invalid value.", 10),
    '{"name": 01': ("Missing a comma or '}' after an object member.", 10),
    '{"name": 1.}': ("Miss fraction part in number.", 11),
    '{"name": 1e+}': ("Miss exponent in number.", 12),
    '{"name": -1e999}': ("Number too big to be stored in double.", 9),
    '{"name": 1}x': ("The document root must not be followed by other values.", 11),
    '{"name": "': ("Missing a closing quotation mark in string.", 10),
    '{"name": "\\x"}': ("Invalid escape character in string.", 10),
    '{"name": "\\u00"}': ("Incorrect hex digit after \\u escape in string.", 10),
    '{"name": "\\ud800\\u0041"}': ("The surrogate pair in string is invalid.", 10),
    '{"name": "\x01"}': ("A control character in a string must be escaped.", 10),
    '{"name": "é\udcff"}': ("a text in it is not UTF-8; send UTF-8", 12),
    '{"name": "\udce2\udc82"}': ("a text in it is not UTF-8; send UTF-8", 10),
    "[" * 101: ("It is nested more than 100 levels deep.", 100),
}


def test_faults_have_their_place(envoy):
    for body, (text, place) in FAULTS.items():
        answer = envoy.rest().call("POST", "/v1/sites", data=body.encode(errors="surrogateescape"))
        expected = f"the body is not a JSON object: {text} (byte {place})"
        assert check(answer, 400, "INVALID_ARGUMENT").message == expected, body


def test_a_thousand_unknown_fields_are_named_and_all_counted(envoy):
    """Regression: some dozens were named, as many as fit into the trailers of a gRPC answer."""
    all_names = unknown(*(f"entries[{index}].sco" for index in range(1000)))
    for count in (1000, 100_000):
        answer = envoy.rest().call(*BATCH, json={"entries": [{"sco": 1}] * count})
        assert verdict(answer) == all_names
        assert answer.json()["message"].startswith("entries[0].sco: is no field of LiveDataEntry; ent")
        assert answer.json()["message"].endswith(f" ({count} violations in all)")
    # Long names: as many as fit, each cut at the end of a character.
    body = {f"{index}{'é' * 300}": 1 for index in range(1000)}
    found = verdict(envoy.rest().call(*BATCH, json=body))
    assert found == unknown(*(name.encode()[:512].decode(errors="ignore") for name in body))[: len(found)]
    assert 256 << 10 > sum(len(name.encode()) for name, _ in found) > 200 << 10


@pytest.mark.parametrize("seed", [20160601, 20240501, 20261201])
def test_mutated_bodies(envoy, seed):
    """Python's own parser, and the descriptors, come to the same verdict."""
    rest, found = envoy.rest(), {}
    for call, body in bodies(seed, 1500):
        message, prefix = WRITES[call]
        expected = judge(body, message.DESCRIPTOR, prefix)
        answer = verdict(rest.call(*call, data=body))
        assert answer == expected, (call, body)
        for kind in [answer] if answer in ([], NO_JSON) else {reason for _, reason in answer}:
            found[str(kind)] = found.get(str(kind), 0) + 1
    least = {"[]": 300, NO_JSON: 400, "field.known": 100, "json.text": 10, "json.null": 10}
    assert all(found.get(kind, 0) >= count for kind, count in least.items()), found


# Bodies of nearly the limit, of what the check has most to do with.
LARGE = {
    "names": b'{"entries":[%s]}' % b",".join(b'{"soc":1}' for _ in range(400_000)),
    "different names": json.dumps(dict.fromkeys(map(str, range(300_000)), 1)).encode(),
    "a long name": b'{"' + b"\\u0041" * 690_000 + b'":1}',
    "a long text": b'{"request_id":"' + b"\\\\" * 2_000_000 + b'"}',
    "a long number": b'{"request_id":' + b"1" * 4_000_000 + b"}",
    "numbers": b'{"entries":[' + b"1e1," * 1_000_000 + b"1]}",
    "lists": b'{"entries":[' + b"[]," * 1_300_000 + b"[]]}",
    "nulls": b'{"entries":[' + b"null," * 800_000 + b"1]}",
    "white space": b"{" + b" " * 4_000_000 + b"}",
    "only white space": b" " * 4_000_000,
    "depth": b"[" * 4_000_000,
    "slashes": b"/" * 4_000_000,
    "invalid UTF-8 at the end": b'{"request_id":"' + "é".encode() * 2_000_000 + b"\xff",
}


@pytest.mark.memory
def test_large_bodies_take_little(envoy):
    """Time in proportion to the body, and no memory that stays."""
    rest = envoy.rest()

    def send_all():
        for name, body in LARGE.items():
            begin = time.monotonic()
            rest.call(*BATCH, data=body, headers={"content-type": "text/plain"})
            # A quadratic search of four million bytes would take hours.
            assert time.monotonic() - begin < 10, name

    send_all()
    first = envoy.process.peak_mib()
    for _ in range(3):
        send_all()
    assert envoy.process.peak_mib() < first + 100 < 500


def planted(fault):
    """The configuration of a gateway whose check has this fault."""
    (port,) = free_ports(1)
    settings = local_settings(port, *free_ports(1))
    program = "local buffer = handle:body()"
    configuration = render(settings)
    assert configuration.count(program) == 1
    return settings["listen"], configuration.replace(program, f"{program} {fault}")


@pytest.mark.parametrize(
    "fault",
    [
        'error("planted")',
        "error(nil)",
        "error({})",
        "local x = nil + 1",
        "local function f() return 1 + f() end f()",
        "error(setmetatable({}, {__tostring = error}))",
        "handle:nothing()",
    ],
)
def test_a_fault_of_the_check_lets_nothing_pass(envoy, tmp_path, fault):
    address, configuration = planted(fault)
    envoy.stop()
    envoy.run(configuration, address, tmp_path, ready=False)
    for method, path in (("POST", "/v1/sites"), ("DELETE", "/v1/sites/1")):
        check(envoy.rest().call(method, path, json={}), 503, "UNAVAILABLE", "failed to check the body")
    # What has no body to check.
    check(envoy.rest().get("/v1/sites"), 503, "UNAVAILABLE", "no healthy upstream")


def open_until(over):
    yield b""
    over.wait(30)


def test_grpc_is_not_checked(start_gateway, echo, issuer):
    """Regression: a stream got its first answer only when its client was done."""
    stubs = start_gateway([echo.port]).stubs(issuer.token())
    stubs.sites.CreateSite(sites_pb2.CreateSiteRequest(site={"name": "{nmae"}))
    over = threading.Event()
    ingest = stubs.channel.stream_stream("/energysites.v1.LiveData/IngestLiveData")
    assert next(ingest(open_until(over), timeout=30)) == b""
    over.set()
    stubs.close()
