"""Requests of REST that clients encode wrongly: the error names the cause and what to send."""

import json

import pytest
from google.rpc import error_details_pb2

from support.process import ROOT
from support.rest_errors import check, details

CASES = ROOT.parent / "shared" / "cases"
SITE = json.dumps({"name": "Mill", "location": "Brno"})
JSON = {"content-type": "application/json"}


def case(name):
    return (CASES / name).read_bytes()


# Body, headers -> a part of the text.
BODIES = {
    "a byte order mark": (b"\xef\xbb\xbf" + SITE.encode(), {}, "byte order mark (bytes EF BB BF); send it without"),
    "brotli": (b"\x0b\x02\x80{}\x03", {"content-encoding": "br"}, "(Content-Encoding: br), which is not supported"),
    "gzip": (b"\x1f\x8b\x08\0", {"content-encoding": "gzip"}, "(Content-Encoding: gzip), which is not supported"),
    "gzip without a header": (b"\x1f\x8b\x08\0", {}, "the bytes are gzip"),
    "UTF-16": (SITE.encode("utf-16"), {}, "it is UTF-16 or UTF-32; send UTF-8"),
    "UTF-16 without a mark": (SITE.encode("utf-16-be"), {}, "it is UTF-16 or UTF-32; send UTF-8"),
    "UTF-32": (SITE.encode("utf-32-le"), {}, "it is UTF-16 or UTF-32; send UTF-8"),
    "Latin 1": ('{"name": "Caf\u00e9"}'.encode("latin-1"), {}, "not UTF-8; send UTF-8 (byte"),
    "a form": (
        b"name=a&location=b", {"content-type": "application/x-www-form-urlencoded"},
        "it is application/x-www-form-urlencoded; send JSON with Content-Type: application/json",
    ),
    "a fault in JSON that curl -d sends": (
        b'{"name":"a","location":"x",}', {"content-type": "application/x-www-form-urlencoded"},
        "a JSON object: Missing a name for object member. (byte 27)",
    ),
    "a fault in JSON that is not compressed": (
        b'{"name":"a","location":"x",}', {"content-encoding": "gzip"},
        "a JSON object: Missing a name for object member. (byte 27)",
    ),
    "CSV": (b"name,location", {"content-type": "text/csv"}, "it is text/csv; send JSON"),
    "an array": (f"[{SITE}]".encode(), {}, "it is another JSON value; send {...}"),
}  # fmt: skip


@pytest.mark.parametrize("name", BODIES)
def test_a_body_that_is_no_json(rest, name):
    body, headers, text = BODIES[name]
    answer = rest.call("POST", "/v1/sites", data=body, headers={**JSON, **headers})
    status = check(answer, 400, "INVALID_ARGUMENT", text)
    assert details(status, error_details_pb2.ErrorInfo).reason == "MALFORMED_REQUEST"


def test_files_of_the_kind(rest):
    answer = rest.call("POST", "/v1/sites", data=case("bom.json"), headers=JSON)
    check(answer, 400, "INVALID_ARGUMENT", "byte order mark")
    headers = {**JSON, "content-encoding": "gzip"}
    answer = rest.call(
        "POST", "/v1/liveData:batchCreate", data=case("batch-null.json.gz"), headers=headers
    )
    check(answer, 400, "INVALID_ARGUMENT", "Content-Encoding: gzip")


NOON = "2024-05-01T12:00:00"
PLUS = "send + as %2B"


@pytest.mark.parametrize(
    "path",
    [
        f"/v1/liveData?start_time={NOON}+02:00",
        f"/v1/liveData?endTime={NOON}+02:00&page_size=3",
        "/v1/liveData?page_size=3&start_time=2024-05-01%2012%3A00%3A00.5+0200",
        f"/v1/liveData:download?format=csv&start_time={NOON}+02:00",
        f"/v1/liveData:aggregate?site_ids=1&start_time={NOON}Z&end_time={NOON}%2002:00&bucket=day",
        f"/v1/liveData:aggregate?site_ids=1&start_time={NOON}Z&end_time={NOON}Z&bucket=day"
        "&time_zone=Etc/GMT+2",
    ],
)
def test_a_plus_that_the_query_turns_into_a_space(rest, path):
    """Regression: `+02:00` was told to have no valid offset."""
    check(rest.get(path), 400, "INVALID_ARGUMENT", PLUS)


def test_a_time_that_has_another_fault(rest):
    """The plus is not named where there is none, or where it is right."""
    for value in (
        NOON, "2024-05-01", f"{NOON}%2B99:00", "2024-05-01%2012:00:00Z", "2024-05-01+12:00:00Z",
        "2024-05-01%2012:00", "2024-05-01%2012:00:00", f"{NOON}Z%20",
    ):  # fmt: skip
        status = check(rest.get(f"/v1/liveData?start_time={value}"), 400, "INVALID_ARGUMENT")
        assert PLUS not in status.message, value
    assert rest.get(f"/v1/liveData?start_time={NOON}%2B02:00").ok
    for zone in ("America/New%20York", "America/New+York", "Europe/Berlin%20"):
        query = f"site_ids=1&start_time={NOON}Z&end_time={NOON}Z&bucket=day&time_zone={zone}"
        answer = rest.get(f"/v1/liveData:aggregate?{query}")
        status = check(answer, 400, "INVALID_ARGUMENT", "must match the pattern")
        assert PLUS not in status.message, zone
