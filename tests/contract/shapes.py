"""The shapes of the standard methods (AIP-131 to AIP-135 and AIP-233) and of custom ones (AIP-136),
and their http rules."""

import re
from typing import Iterator

from google.protobuf.descriptor_pb2 import FieldDescriptorProto

from contract import PACKAGE

LIST = "List"
# Verb of each standard method over REST.
VERBS = {
    "BatchCreate": "post",
    "Create": "post",
    "Get": "get",
    LIST: "get",
    "Update": "patch",
    "Delete": "delete",
}
WRITES = ("Create", "BatchCreate", "Update", "Delete")
# Custom methods whose names begin like those of standard ones.
CUSTOM = {"GetLatestLiveData"}
# Methods that REST does without, and the one that serves it instead.
INSTEAD = {"ExportLiveData": "DownloadLiveData"}
EMPTY = ".google.protobuf.Empty"
NUMBERS = {
    getattr(FieldDescriptorProto, f"TYPE_{kind}")
    for kind in (
        *("DOUBLE", "FLOAT", "INT32", "INT64", "UINT32", "UINT64", "SINT32", "SINT64"),
        *("FIXED32", "FIXED64", "SFIXED32", "SFIXED64"),
    )
}
INTEGERS_64 = {
    getattr(FieldDescriptorProto, f"TYPE_{kind}")
    for kind in ("INT64", "UINT64", "SINT64", "FIXED64", "SFIXED64")
}


def standard(method_name: str) -> str | None:
    """`List` of `ListSites`; None for a method of its own kind."""
    if method_name in CUSTOM:
        return None
    return next((v for v in VERBS if re.match(rf"{v}[A-Z]", method_name)), None)


def resources(contract) -> list[str]:
    """Names of the messages that some Get returns."""
    return [m.name[len("Get"):] for _, m in contract.methods() if standard(m.name) == "Get"]


def snake(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


def sent(contract) -> dict:
    """The messages that callers send, by name: the requests, and what they hold."""
    found = {}
    left = [method.input_type for _, method in contract.methods()]
    while left:
        message = contract.message(left.pop())
        if message is not None and message.name not in found:
            found[message.name] = message
            left += [field.type_name for field in message.field]
    return found


def resource_field(contract, request):
    """The request's first field that is, or lists, one of our messages; None if there is none."""
    return next((f for f in request.field if contract.message(f.type_name)), None)


def standard_methods(contract) -> Iterator[tuple]:
    """AIP-131 to AIP-135, AIP-233: types, verb, path and body of the standard methods."""
    for _, method in contract.methods():
        kind = standard(method.name)
        if kind is None:
            continue
        for what in _type_faults(contract, kind, method):
            yield method.name, what
        for binding in contract.bindings(method):
            for what in _binding_faults(kind, method, binding):
                yield method.name, what


def _type_faults(contract, kind: str, method) -> Iterator[str]:
    noun = method.name[len(kind):]
    if method.input_type != f".{PACKAGE}.{method.name}Request":
        yield f"takes {method.input_type}, not {method.name}Request"
        return
    response = f".{PACKAGE}.{method.name}Response"
    answers = {"Delete": EMPTY, LIST: response, "BatchCreate": response}
    expected = answers.get(kind, f".{PACKAGE}.{noun}")
    if method.output_type != expected:
        yield f"returns {method.output_type}, not {expected}"
        return
    request = contract.message(method.input_type)
    if kind in ("Get", "Delete") and contract.field_at(request, "id") is None:
        yield "takes no id"
    if kind in ("Create", "Update"):
        field = contract.field_at(request, snake(noun))
        if field is None or field.type_name != f".{PACKAGE}.{noun}":
            yield f"takes no {noun} as {snake(noun)}"
    if kind in (LIST, "BatchCreate"):
        answer = contract.field_at(contract.message(method.output_type), snake(noun))
        if answer is None or contract.message(answer.type_name) is None:
            yield f"does not answer with {snake(noun)}"
    if kind == "BatchCreate":
        batch = resource_field(contract, request)
        if batch is None or batch.label != batch.LABEL_REPEATED:
            yield "takes no repeated resource"


def _binding_faults(kind: str, method, binding) -> Iterator[str]:
    noun = snake(method.name[len(kind):])
    if binding.verb != VERBS[kind]:
        yield f"is bound to {binding.verb}, not {VERBS[kind]}"
    body = {"Create": noun, "Update": noun, "BatchCreate": "*"}.get(kind, "")
    if binding.body != body:
        yield f"has the body {binding.body!r}, not {body!r}"
    ends = {
        "Get": r"/\{id\}",
        "Delete": r"/\{id\}",
        "Update": rf"/\{{{noun}\.id\}}",
        "BatchCreate": r"/[a-zA-Z]+:batchCreate",
    }
    collection = r"/[a-zA-Z]+"
    if not re.fullmatch(rf"/v1(/.+)?{ends.get(kind, collection)}", binding.path):
        yield f"has the path {binding.path}"


def custom_methods(contract) -> Iterator[tuple]:
    """AIP-136: a custom method's path ends with its verb, and only GET goes without a body."""
    for _, method in contract.methods():
        if standard(method.name):
            continue
        for binding in contract.bindings(method):
            path = re.fullmatch(r"/v1(?:/[^:]+)?/[a-zA-Z]+:([a-z]+[a-zA-Z]*)", binding.path)
            verb = path[1][0].upper() + path[1][1:] if path else ""
            # `:latest` of GetLatestLiveData: the path has no need to say that it gets.
            if not path or not re.match(rf"(Get)?{verb}[A-Z]", method.name):
                yield method.name, f"has the path {binding.path}"
            expected = {"get": "", "post": "*"}.get(binding.verb)
            if binding.body != expected:
                yield method.name, f"is bound to {binding.verb} with the body {binding.body!r}"


def http_rules(contract) -> Iterator[tuple]:
    """Every method can be called over REST, and what its path names is in its request.

    Methods with a stream of requests are exempt, for HTTP/1.1 has no such thing, and so are those
    that have another one in their place.
    """
    taken = {}
    bound = {method.name for _, method in contract.methods() if contract.http(method)}
    for service, method in contract.methods():
        where = f"{service.name}.{method.name}"
        if contract.http(method) is None:
            if not method.client_streaming and INSTEAD.get(method.name) not in bound:
                yield where, "has no google.api.http rule"
            continue
        request = contract.message(method.input_type)
        for binding in contract.bindings(method):
            for variable in re.findall(r"\{([^}=]+)", binding.path) if request else ():
                if contract.field_at(request, variable) is None:
                    yield where, f"has {{{variable}}} in its path, which is no field"
            # Two paths that differ in the names of their variables only are one to a router.
            key = binding.verb, re.sub(r"\{[^}]+\}", "{}", binding.path)
            if taken.setdefault(key, where) != where:
                yield where, f"is bound to {key} like {taken[key]}"
