"""Nothing that a caller puts into a field gets into the log."""

import contextlib
import itertools
import json

import grpc
import pytest
from attacks.hostile import GET_SITE
from attacks.http2 import Connection, Target
from energysites.v1 import configurations_pb2, live_data_pb2, sites_pb2
from google.protobuf import field_mask_pb2, message_factory
from google.protobuf.descriptor import FieldDescriptor

from support.calls import (
    configuration, create_site, entry, fail, new_uuid, site, stamp,
)  # fmt: skip
from support.ingest import Ingest
from support.process import wait_until

SERVICES = [file.DESCRIPTOR.services_by_name[name] for file, name in (
    (sites_pb2, "Sites"), (configurations_pb2, "Configurations"), (live_data_pb2, "LiveData"))]  # fmt: skip
METHODS = [method for service in SERVICES for method in service.methods]
MARK = "Geheimrat"
TRACE = "00-0af7651916cd43dd8448eb211c80319c-{:016x}-01"


def filled(descriptor, numbers):
    """A message of the type with a marked text of its own in every string field below it."""
    message = message_factory.GetMessageClass(descriptor)()
    for field in descriptor.fields:
        if field.type == FieldDescriptor.TYPE_STRING:
            text = f"{MARK}-{next(numbers)}"
            if field.is_repeated:
                getattr(message, field.name).append(text)
            else:
                setattr(message, field.name, text)
        elif field.type == FieldDescriptor.TYPE_MESSAGE:
            below = filled(field.message_type, numbers)
            target = getattr(message, field.name)
            (target.add() if field.is_repeated else target).MergeFrom(below)
    return message


def one_of_each(descriptor, numbers):
    """`filled`, and where only one of several fields can be set, once with each of them."""
    whole = filled(descriptor, numbers)
    choices = [field for oneof in descriptor.oneofs for field in oneof.fields if len(oneof.fields) > 1]
    if not choices:
        return [whole]
    messages = []
    for field in choices:
        message = type(whole)()
        getattr(message, field.name).MergeFrom(filled(field.message_type, numbers))
        messages.append(message)
    return messages


def send(channel, method, request, metadata):
    """The code of a call to any method."""
    kind = {(False, False): "unary_unary", (False, True): "unary_stream",
            (True, True): "stream_stream"}[method.client_streaming, method.server_streaming]  # fmt: skip
    call = getattr(channel, kind)(f"/{method.containing_service.full_name}/{method.name}")
    bytes_sent = request.SerializeToString()
    if method.client_streaming:
        bytes_sent = iter([bytes_sent])
    try:
        answer = call(bytes_sent, timeout=30, metadata=metadata)
        list(answer if method.server_streaming else [])
    except grpc.RpcError as error:
        return error.code()
    return grpc.StatusCode.OK


def calls_of(service):
    lines = [json.loads(line) for line in service.log_text().splitlines()]
    return [line for line in lines if line["event"] == "call"]


def test_no_text_of_a_bad_request_is_logged_and_every_call_has_its_trace(service, stubs):
    numbers = itertools.count(1)
    sent = []
    for method in METHODS:
        for request in one_of_each(method.input_type, numbers):
            trace = TRACE.format(len(sent) + 1)
            send(stubs.channel, method, request, [("traceparent", trace)])
            sent.append((method.containing_service.full_name, method.name, trace))
    assert next(numbers) > 25  # Else the fields were not found.
    service.stop()
    # By the trace, as they came: an instance knows only of its own.
    calls = sorted(calls_of(service), key=lambda call: call["traceparent"])
    assert [(c["grpc_service"], c["grpc_method"], c["traceparent"]) for c in calls] == sent
    assert MARK not in service.log_text()


def test_no_text_of_a_good_request_is_logged(service, stubs):
    marks = [f"{MARK}-{n}" for n in range(8)]
    uuids = [new_uuid() for _ in range(4)]
    site_id = create_site(stubs, name=marks[0], location=marks[1]).id
    stubs.sites.CreateSite(
        sites_pb2.CreateSiteRequest(request_id=uuids[0], site=site(name=marks[2], location=marks[3]))
    )
    # The same id for another site: refused for what is stored, not for a rule.
    other = sites_pb2.CreateSiteRequest(request_id=uuids[0], site=site(name=marks[4]))
    assert fail(stubs.sites.CreateSite, other).code == "ALREADY_EXISTS"
    stubs.sites.UpdateSite(
        sites_pb2.UpdateSiteRequest(
            site=sites_pb2.Site(id=site_id, name=marks[5]),
            update_mask=field_mask_pb2.FieldMask(paths=["name"]),
        )
    )
    stubs.configurations.CreateConfiguration(
        configurations_pb2.CreateConfigurationRequest(
            request_id=uuids[1], configuration=configuration(site_id, battery_vendor="KATL")
        )
    )
    create = live_data_pb2.CreateLiveDataEntryRequest
    stubs.live_data.CreateLiveDataEntry(
        create(request_id=uuids[2], live_data_entry=entry(site_id, load_kwh=4242.125))
    )
    missing = create(live_data_entry=entry(2**40 + 7, load_kwh=4242.125))
    assert fail(stubs.live_data.CreateLiveDataEntry, missing).code == "NOT_FOUND"
    batch = live_data_pb2.BatchCreateLiveDataEntriesRequest(request_id=uuids[3], entries=[entry(site_id)])
    stubs.live_data.BatchCreateLiveDataEntries(batch)
    ingest = Ingest(stubs, session=marks[6])
    ingest.send(1, [entry(site_id)])
    ingest.until(1)
    ingest.rest()
    aggregate = live_data_pb2.AggregateLiveDataRequest(
        site_ids=[site_id], start_time=stamp(0), end_time=stamp(1), bucket="86399s", time_zone="Asia/Macau"
    )
    stubs.live_data.AggregateLiveData(aggregate)
    export = live_data_pb2.ExportLiveDataRequest(
        read_mask=field_mask_pb2.FieldMask(paths=["net_load_kwh"])
    )
    list(stubs.live_data.ExportLiveData(export))
    service.stop()
    log = service.log_text()
    unseen = [MARK, "4242.125", str(2**40 + 7), "KATL", "86399s", "Asia/Macau", "net_load_kwh", *uuids]
    assert [value for value in unseen if value in log] == []


@pytest.mark.one_server("the gateway lets no such header pass")
def test_what_libraries_say_is_a_line_without_values(server):
    """Regression: gRPC wrote what it could not read, in a form of its own."""
    with contextlib.closing(Connection(Target(*server.address.split(":")))) as connection:
        connection.send(connection.open(1, GET_SITE, ("grpc-timeout", MARK)))
        wait_until(lambda: "library error" in server.log_text(), 30, "gRPC's fault is logged")
    lines = [json.loads(line) for line in server.log_text().splitlines()]
    assert {line["library"] for line in lines if line["event"] == "library error"} == {"grpc"}
    assert MARK not in server.log_text()
