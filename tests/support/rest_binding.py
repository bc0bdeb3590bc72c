"""Converts a request to a REST call with the first google.api.http binding that fits it."""

import dataclasses
import re

from google.api import annotations_pb2
from google.protobuf import field_mask_pb2, json_format


class NotExpressible(Exception):
    """A request that REST cannot represent, with the reason."""


@dataclasses.dataclass
class Call:
    method: str
    path: str
    query: dict
    json: dict | None


def call_of(method, request):
    """`method` is a descriptor with the options of google.api; `request` its message."""
    rule = method.GetOptions().Extensions[annotations_pb2.http]
    if not rule.WhichOneof("pattern"):
        raise NotExpressible("a method of gRPC only")
    reason = None
    for binding in (rule, *rule.additional_bindings):
        try:
            return _bind(binding, request)
        except NotExpressible as error:
            reason = reason or error
    raise reason


def _bind(binding, request):
    rest = type(request)()
    rest.CopyFrom(request)
    verb = binding.WhichOneof("pattern")
    path = re.sub(r"{([a-z_.]+)}", lambda match: _take(rest, match[1]), getattr(binding, verb))
    body = None
    if binding.body == "*":
        return Call(verb.upper(), path, {}, _json(rest))
    if binding.body:
        if not request.HasField(binding.body):
            raise NotExpressible("the body's message is missing")
        body = _json(getattr(rest, binding.body))
        rest.ClearField(binding.body)
    return Call(verb.upper(), path, {name: _query(rest, name) for name in _json_names(rest)}, body)


def _take(request, path):
    """Removes the field, and returns its text for the URL."""
    *parents, name = path.split(".")
    for parent in parents:
        if not request.HasField(parent):
            raise NotExpressible("the body's message is missing")
        request = getattr(request, parent)
    if request.DESCRIPTOR.fields_by_name[name].has_presence and not request.HasField(name):
        raise NotExpressible("a part of the path is missing")
    text = str(getattr(request, name))
    request.ClearField(name)
    return text


def _json_names(request):
    return [field.name for field, _ in request.ListFields()]


def _query(request, name):
    value = getattr(request, name)
    if isinstance(value, field_mask_pb2.FieldMask):
        # In JSON the paths are in camelCase and separated by commas.
        if any(not re.fullmatch(r"[a-z_.*]+", path) for path in value.paths):
            raise NotExpressible("a mask with such a path")
        return ",".join(value.paths)
    if isinstance(value, str) and "\0" in value:
        raise NotExpressible("U+0000 in the URL")
    text = _json(request)[name]
    if isinstance(text, list):
        return text  # One parameter each.
    return {True: "true", False: "false"}[text] if isinstance(text, bool) else str(text)


def _json(message):
    try:
        return json_format.MessageToDict(message, preserving_proto_field_name=True)
    except (json_format.SerializeToJsonError, ValueError) as error:
        raise NotExpressible("a time that RFC 3339 cannot write") from error
