"""Requests that no generated client sends: garbled bytes, unknown methods, too large a message."""

import random

import grpc
import pytest
from energysites.v1 import configurations_pb2, live_data_pb2, sites_pb2

from support.calls import configuration, create_site, entry, fail, failure_of, new_uuid, site, stamp

LIMIT = 4 << 20
UNHEARD_OF = {"INTERNAL", "UNKNOWN", "UNIMPLEMENTED", "DATA_LOSS"}


@pytest.fixture
def raw(stubs):
    """`raw("Sites/GetSite")` sends bytes and returns bytes."""
    return lambda method: stubs.channel.unary_unary(f"/energysites.v1.{method}")


def methods():
    """Every method by its path, with its request's name."""
    return {
        f"{service.name}/{method.name}": method.input_type
        for module in (sites_pb2, configurations_pb2, live_data_pb2)
        for service in module.DESCRIPTOR.services_by_name.values()
        for method in service.methods
    }


def test_bytes_that_do_not_parse(raw):
    good = sites_pb2.CreateSiteRequest(site=site(name="Farm Novák")).SerializeToString()
    table = {
        "no tag": b"\x00",
        "a group that never ends": b"\x0b",
        "an end of no group": b"\x0c",
        "a wire type that does not exist": b"\x0e",
        "an endless varint": b"\x80" * 11,
        "a length beyond the end": b"\x0a\x7f",
        "a length beyond all": b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
        "text": b"GET / HTTP/1.1\r\n\r\n",
    }
    for path, request in methods().items():
        for name, data in table.items():
            failure = fail(raw(path), data)
            assert (failure.code, failure.reason) == ("INVALID_ARGUMENT", "MALFORMED_REQUEST"), (
                path,
                name,
            )
            assert request.full_name in failure.text, (path, name)
    for length in range(1, len(good)):
        failure = fail(raw("Sites/CreateSite"), good[:length])
        assert failure.code == "INVALID_ARGUMENT" and failure.text, length


def test_text_that_is_not_utf8(raw):
    for bad in (b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x82", b"a\x80"):
        name = b"\x12" + bytes([len(bad)]) + bad
        request = b"\x0a" + bytes([len(name) + 3]) + name + b"\x1a\x01x"
        failure = fail(raw("Sites/CreateSite"), request)
        assert (failure.code, failure.reason) == ("INVALID_ARGUMENT", "MALFORMED_REQUEST"), bad
        assert "UTF-8" in failure.text


def test_unknown_fields_are_no_fault(raw):
    good = sites_pb2.CreateSiteRequest(site=site()).SerializeToString()
    answer = sites_pb2.Site.FromString(raw("Sites/CreateSite")(good + b"\xfa\x7f\x03new"))
    assert answer.name == site().name


def test_deep_nesting(raw):
    data = b"\x0b" * 1_000_000
    assert fail(raw("Sites/CreateSite"), data).code == "INVALID_ARGUMENT"


def test_too_large_a_message(raw, stubs):
    long = sites_pb2.CreateSiteRequest(site=site(name="x" * LIMIT)).SerializeToString()
    failure = fail(raw("Sites/CreateSite"), long)
    assert failure.code == "RESOURCE_EXHAUSTED" and str(LIMIT) in failure.text
    almost = sites_pb2.CreateSiteRequest(site=site(name="x" * (LIMIT - 1000)))
    assert fail(stubs.sites.CreateSite, almost).violations == [("site.name", "string.max_len")]


def varint(value):
    return (bytes([value & 0x7F | 0x80]) + varint(value >> 7)) if value > 0x7F else bytes([value])


def delimited(number, data):
    return bytes([number << 3 | 2]) + varint(len(data)) + data


# Two bytes on the wire, a hundred and more as an object.
TOO_MANY = 2_000_000
OVERLONG = [
    (
        "LiveData/BatchCreateLiveDataEntries",
        b"\x0a\x00" * TOO_MANY,
        ("entries", "must have at most 10000 items"),
    ),
    (
        "LiveData/IngestLiveData",
        delimited(2, b"\x08\x01" + b"\x12\x00" * TOO_MANY),
        ("batch.entries", "must have at most 10000 items"),
    ),
    (
        "Sites/UpdateSite",
        delimited(1, b"\x08\x01") + delimited(2, b"\x0a\x00" * TOO_MANY),
        ("update_mask.paths", "must have at most 1000 items"),
    ),
    (
        "LiveData/WatchLiveData",
        delimited(1, b"\x01" * TOO_MANY),
        ("site_ids", "must have at most 1000 items"),
    ),
]


def test_lists_too_long_to_be_parsed(service, stubs):
    def send(path, data):
        channel, method = stubs.channel, f"/energysites.v1.{path}"
        if path == "LiveData/IngestLiveData":
            start = live_data_pb2.IngestLiveDataRequest(start={"session": "meter"})
            return list(channel.stream_stream(method)(iter([start.SerializeToString(), data])))
        if path == "LiveData/WatchLiveData":
            return list(channel.unary_stream(method)(data))
        return channel.unary_unary(method)(data)

    before = service.peaks_mib()
    grown = {}
    for path, data, (field, text) in OVERLONG:
        # Objects are made of all that stands before a fault.
        for whole_or_not in (data, data + b"\x0e"):
            with pytest.raises(grpc.RpcError) as raised:
                send(path, whole_or_not)
            failure = failure_of(raised.value)
            assert (failure.code, failure.reason) == ("INVALID_ARGUMENT", "INVALID_REQUEST")
            assert failure.violations == [(field, "repeated.max_items")]
            assert failure.text == f"{field}: {text}, got {TOO_MANY}"
            grown[path] = max(now - then for now, then in zip(service.peaks_mib(), before, strict=True))
    assert max(grown.values()) < 60, grown


@pytest.mark.one_server("the gateway forbids what is no rpc of ours")
@pytest.mark.parametrize("method", ["Sites/Explode", "Nothing/GetSite", "sites/GetSite"])
def test_unknown_methods(raw, method):
    assert fail(raw(method), b"").code == "UNIMPLEMENTED"


def good_requests(site_id):
    """One of each kind of request, as the fuzzer's seeds."""
    one, id_of = entry(site_id), {"site_id": site_id, "id": 1}
    return [
        ("Sites/CreateSite", sites_pb2.CreateSiteRequest(site=site(), request_id=new_uuid())),
        ("Sites/ListSites", sites_pb2.ListSitesRequest(page_size=2, page_token="AAAA")),
        (
            "Sites/UpdateSite",
            sites_pb2.UpdateSiteRequest(site=site(id=site_id), update_mask={"paths": ["name"]}),
        ),
        (
            "Configurations/CreateConfiguration",
            configurations_pb2.CreateConfigurationRequest(configuration=configuration(site_id)),
        ),
        (
            "Configurations/UpdateConfiguration",
            configurations_pb2.UpdateConfigurationRequest(
                configuration={**id_of, "battery_vendor": "KATL"}
            ),
        ),
        (
            "LiveData/CreateLiveDataEntry",
            live_data_pb2.CreateLiveDataEntryRequest(live_data_entry=one),
        ),
        (
            "LiveData/BatchCreateLiveDataEntries",
            live_data_pb2.BatchCreateLiveDataEntriesRequest(
                entries=[one] * 3, return_partial_success=True
            ),
        ),
        ("LiveData/GetLiveDataEntry", live_data_pb2.GetLiveDataEntryRequest(**id_of)),
        (
            "LiveData/ListLiveDataEntries",
            live_data_pb2.ListLiveDataEntriesRequest(
                site_id=site_id, start_time=stamp(1, 1), end_time=stamp(2), order_by="dt_stamp"
            ),
        ),
        (
            "LiveData/DeleteLiveDataEntry",
            live_data_pb2.DeleteLiveDataEntryRequest(**id_of, validate_only=True),
        ),
    ]


def mutate(generator, data):
    """Flips, cuts, repeats, inserts: once or twice."""
    data = bytearray(data)
    for _ in range(generator.randint(1, 2)):
        at = generator.randrange(len(data) + 1)
        kind = generator.randrange(4)
        if kind == 0 and at < len(data):
            data[at] ^= 1 << generator.randrange(8)
        elif kind == 1:
            del data[at : at + generator.randint(1, 6)]
        elif kind == 2:
            data[at:at] = data[at : at + generator.randint(1, 12)]
        else:
            data[at:at] = generator.randbytes(generator.randint(1, 4))
    return bytes(data)


def test_mutations_of_good_requests(raw, stubs, service):
    generator = random.Random(20161224)
    seeds = good_requests(create_site(stubs).id)
    codes = {}
    for number in range(500):
        path, request = seeds[number % len(seeds)]
        data = mutate(generator, request.SerializeToString())
        try:
            raw(path)(data, timeout=10)
            code = "OK"
        except grpc.RpcError as error:
            code = error.code().name
            assert error.details(), (path, data)
        assert code not in UNHEARD_OF, (path, data)
        codes[code] = codes.get(code, 0) + 1
    # The mutations reach the parser, the rules and the database.
    assert codes["INVALID_ARGUMENT"] > 50 and codes["OK"] > 20 and codes["NOT_FOUND"] > 5, codes
    assert all(one.process.runs() for one in service.instances()) and create_site(stubs).id
