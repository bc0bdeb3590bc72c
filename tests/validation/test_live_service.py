"""Judge 3 of the validation corpus: the live service, over gRPC and over REST."""

import collections
import itertools

import corpus
import grpc
import pytest
from energysites.v1 import configurations_pb2, live_data_pb2, sites_pb2
from google.protobuf import json_format, message_factory
from google.protobuf.field_mask_pb2 import FieldMask
from google.rpc import code_pb2, error_details_pb2, status_pb2

from support import rest_binding
from support.calls import failure_of
from support.envoy import Envoy, Rest
from support.server import Server
from support.stubs import Stubs

CASES = list(corpus.load_cases())
METHODS = {
    method.input_type.name: method
    for module in (sites_pb2, configurations_pb2, live_data_pb2)
    for service in module.DESCRIPTOR.services_by_name.values()
    for method in service.methods
}
# The sites that the corpus writes to.
SITES = (1, 7, 8)
# What a stream of batches begins with.
START = live_data_pb2.IngestLiveDataRequest(start={"session": "corpus"})


def generated(case):
    """The case's request as a message of the generated client."""
    request_class = message_factory.GetMessageClass(METHODS[case.request_type].input_type)
    return request_class.FromString(case.request.SerializeToString())


def split_by_rest():
    """The calls that REST can make, by case, and how many it cannot, by reason."""
    calls, reasons = {}, collections.Counter()
    for case in CASES:
        try:
            calls[case.name] = rest_binding.call_of(METHODS[case.request_type], generated(case))
        except rest_binding.NotExpressible as reason:
            reasons[str(reason)] += 1
    return calls, reasons


REST_CALLS, NOT_IN_REST = split_by_rest()


class World:
    """A server behind Envoy, on a database that every case finds in the same state."""

    def __init__(self, database, folder):
        self._connection = database.connect()
        # Clear of the ids that are given below.
        self._connection.execute("ALTER TABLE sites ALTER id RESTART WITH 1000")
        self.server = Server(database, folder)
        self.envoy = Envoy(self.server.port, folder)
        self.channel = Stubs(self.server.address).channel
        self.rest = Rest(self.envoy.url)

    def reset(self):
        self._connection.execute("DELETE FROM write_requests")
        self._connection.execute("DELETE FROM ingest_sessions")
        self._connection.execute(
            "INSERT INTO sites (id, name, location) OVERRIDING SYSTEM VALUE"
            " SELECT id, 'Farm', 'Brno' FROM unnest(%s::bigint[]) AS id ON CONFLICT DO NOTHING",
            [list(SITES)],
        )

    def close(self):
        self.channel.close()
        self.envoy.process.kill()
        self.server.kill()
        self._connection.close()


@pytest.fixture(scope="module")
def shared_world(postgres, tmp_path_factory):
    world = World(postgres.new_database(), tmp_path_factory.mktemp("live"))
    yield world
    world.close()


@pytest.fixture
def world(shared_world):
    shared_world.reset()
    return shared_world


def violations_of(details):
    found = error_details_pb2.BadRequest()
    any(packed.Unpack(found) for packed in details)
    return [(one.field, one.reason) for one in found.field_violations]


def verdict_on(answers):
    """OK, or what is wrong with the entries that a batch left out, as if the batch were refused."""
    found = []
    for answer in answers:
        for left_out in getattr(answer, "failed_requests", {}).values():
            found += violations_of(left_out.details)
        for batch in getattr(answer, "refused", ()):
            for left_out in batch.failed_entries.values():
                # Told of the batch, and not of the message that has it.
                found += [("batch." + path, rule) for path, rule in violations_of(left_out.details)]
    return ("INVALID_ARGUMENT", sorted(found)) if found else ("OK", [])


def assert_agrees(case, code, found):
    if case.violations:
        assert code == "INVALID_ARGUMENT"
        assert found == sorted(
            (violation.field, violation.rule_id) for violation in case.violations
        )
    elif unruled := found_beyond_rules(case.request):
        assert (code, found) == ("INVALID_ARGUMENT", [unruled])
    else:
        assert code in codes_of_good(case)


def found_beyond_rules(request):
    """What is wrong with a request that keeps the rules, or None: what the corpus has of it."""
    if getattr(request, "page_token", ""):
        return ("page_token", "page_token.valid")
    if getattr(request, "resume_token", ""):
        return ("resume_token", "resume_token.valid")
    if "charge" in getattr(request, "read_mask", FieldMask()).paths:
        return ("read_mask", "field_mask.known")
    if getattr(request, "time_zone", "") == "A" * 64:
        return ("time_zone", "time_zone.known")
    if request.DESCRIPTOR.name == "IngestLiveDataRequest":
        if not request.WhichOneof("message"):
            return ("start", "start.first")
        if request.batch.sequence > 1:
            return ("batch.sequence", "sequence.next")
    return None


def codes_of_good(case):
    """What a call that keeps the rules is answered."""
    fields = case.request.DESCRIPTOR.fields_by_name
    if case.request_type == "IngestLiveDataRequest":
        # No session has come farther than 0.
        return {"NOT_FOUND" if case.request.start.acknowledged_sequence else "OK"}
    if case.request_type == "CreateSiteRequest":
        return {"OK"}
    if case.request_type.startswith(("Create", "Batch")):
        written = (
            case.request.entries
            if "entries" in fields
            else [getattr(case.request, next(iter(fields)))]
        )
        return {"OK"} if all(one.site_id in SITES for one in written) else {"NOT_FOUND"}
    # The other calls may name what is there or not, and an etag that is not its own.
    sent = getattr(case.request, "site", getattr(case.request, "configuration", case.request))
    return {"OK", "NOT_FOUND", "ABORTED"} if getattr(sent, "etag", "") else {"OK", "NOT_FOUND"}


def call_grpc(channel, case):
    """The answers to a case; of a stream that only answers, the first one if there is any."""
    method = METHODS[case.request_type]
    path = f"/{method.containing_service.full_name}/{method.name}"
    parse = message_factory.GetMessageClass(method.output_type).FromString
    request = case.request.SerializeToString()
    if method.client_streaming:
        requests = [request]
        if case.request.HasField("batch"):
            requests.insert(0, START.SerializeToString())
        call = channel.stream_stream(path, response_deserializer=parse)
        return list(call(iter(requests), timeout=60))
    if method.server_streaming:
        answers = channel.unary_stream(path, response_deserializer=parse)(request, timeout=60)
        try:
            return list(itertools.islice(answers, 1))
        finally:
            answers.cancel()
    return [channel.unary_unary(path, response_deserializer=parse)(request, timeout=60)]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_grpc_agrees(world, case):
    try:
        code, found = verdict_on(call_grpc(world.channel, case))
    except grpc.RpcError as error:
        failure = failure_of(error)
        code, found = failure.code, failure.violations
    assert_agrees(case, code, found)


@pytest.mark.parametrize(
    "case", [case for case in CASES if case.name in REST_CALLS], ids=lambda case: case.name
)
def test_rest_agrees(world, case):
    call, method = REST_CALLS[case.name], METHODS[case.request_type]
    with world.rest.call(
        call.method, call.path, params=call.query, json=call.json, stream=method.server_streaming
    ) as answer:
        if not answer.ok:
            status = json_format.Parse(answer.text, status_pb2.Status())
            code, found = code_pb2.Code.Name(status.code), sorted(violations_of(status.details))
        elif method.output_type.name == "HttpBody":
            code, found = "OK", []
        else:
            # Of a stream, its first line.
            text = next(answer.iter_lines()) if method.server_streaming else answer.text
            response = message_factory.GetMessageClass(method.output_type)()
            code, found = verdict_on([json_format.Parse(text, response)])
    assert_agrees(case, code, found)


def test_rest_can_say_nearly_all():
    assert sum(NOT_IN_REST.values()) + len(REST_CALLS) == len(CASES)
    others = len(CASES) - NOT_IN_REST["a method of gRPC only"]
    assert len(REST_CALLS) > 0.85 * others, NOT_IN_REST
    assert set(NOT_IN_REST) <= {
        "a time that RFC 3339 cannot write",
        "a method of gRPC only",
        "a mask with such a path",
        "a part of the path is missing",
        "the body's message is missing",
        "U+0000 in the URL",
    }
