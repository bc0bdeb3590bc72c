"""Checks of the contract against Google's API Improvement Proposals and our own DESIGN.

They cover what buf does not know of. Each check yields (where, what is wrong); `findings` runs all.
"""

import re
from dataclasses import dataclass
from typing import Callable, Iterator

import shapes
from shapes import LIST, WRITES, standard

# What a quantity's name must end with, and how its comment writes the unit.
UNITS = {"_kwh": "kWh", "_kw": "kW", "_kwp": "kWp", "_units": "units"}
# Quantities whose name says the unit by itself: a state of charge is a percentage.
NAMED_UNITS = {"soc": "percent"}
# Strings that only the server can make sense of; it checks them where it reads them.
OPAQUE_STRINGS = {"page_token", "resume_token", "etag"}
IDS = re.compile(r"^(.*_)?ids?$")


@dataclass(frozen=True)
class Finding:
    check: str
    where: str
    what: str


def field_behavior(contract) -> Iterator[tuple]:
    """AIP-203: every field that a caller may send says how it behaves.

    What only the server says is exempt: there is nothing to be required or ignored.
    """
    for name, message in shapes.sent(contract).items():
        for field in message.field:
            if not contract.behaviors(field) & {"REQUIRED", "OPTIONAL", "OUTPUT_ONLY"}:
                yield f"{name}.{field.name}", "is not REQUIRED, OPTIONAL or OUTPUT_ONLY"
            elif contract.rules(field).required and "REQUIRED" not in contract.behaviors(field):
                yield f"{name}.{field.name}", "is required by its rule and not by field_behavior"


def paging(contract) -> Iterator[tuple]:
    """AIP-158: a list takes page_size and page_token and answers with next_page_token."""
    for _, method in contract.methods():
        if standard(method.name) != LIST:
            continue
        request = contract.message(method.input_type)
        response = contract.message(method.output_type)
        size = contract.field_at(request, "page_size")
        if size is None or size.type != size.TYPE_INT32:
            yield method.name, "has no int32 page_size"
        elif not contract.rules(size).int32.HasField("gte"):
            yield method.name, "allows a negative page_size"
        for message, name in ((request, "page_token"), (response, "next_page_token")):
            token = contract.field_at(message, name)
            if token is None or token.type != token.TYPE_STRING:
                yield method.name, f"has no string {name}"
        if not response.field or response.field[0].label != response.field[0].LABEL_REPEATED:
            yield method.name, "does not answer with the list as its first field"


def update_mask(contract) -> Iterator[tuple]:
    """AIP-134: an update takes a field mask."""
    for _, method in contract.methods():
        if standard(method.name) != "Update":
            continue
        mask = contract.field_at(contract.message(method.input_type), "update_mask")
        if mask is None or mask.type_name != ".google.protobuf.FieldMask":
            yield method.name, "has no update_mask"


def validate_only(contract) -> Iterator[tuple]:
    """AIP-163: every write can be tried without writing."""
    for _, method in contract.methods():
        if standard(method.name) not in WRITES:
            continue
        field = contract.field_at(contract.message(method.input_type), "validate_only")
        if field is None or field.type != field.TYPE_BOOL:
            yield method.name, "has no bool validate_only"


def request_id(contract) -> Iterator[tuple]:
    """AIP-155: what creates can be repeated safely, under a UUID of the caller's."""
    for _, method in contract.methods():
        if standard(method.name) not in ("Create", "BatchCreate"):
            continue
        field = contract.field_at(contract.message(method.input_type), "request_id")
        if field is None or field.type != field.TYPE_STRING:
            yield method.name, "has no string request_id"
        elif not contract.rules(field).string.uuid:
            yield method.name, "takes a request_id that is no UUID"
        elif not field.proto3_optional:
            yield method.name, "refuses calls without request_id: the field is not `optional`"


def units(contract) -> Iterator[tuple]:
    """AIP-141: a quantity's name ends with its unit, and its comment writes the unit out."""
    comments = contract.comments()
    for name in shapes.resources(contract):
        for field in contract.messages()[name].field:
            if field.type not in shapes.NUMBERS or IDS.match(field.name):
                continue
            where = f"{name}.{field.name}"
            suffix = next((s for s in UNITS if field.name.endswith(s)), None)
            unit = UNITS[suffix] if suffix else NAMED_UNITS.get(field.name)
            if unit is None:
                yield where, f"has no unit in its name ({', '.join(UNITS)})"
            elif comments[where] and not re.search(rf"\b{unit}\b", comments[where]):
                yield where, f"does not name its unit ({unit}) in its comment"


def comments_everywhere(contract) -> Iterator[tuple]:
    """AIP-192: every service, method, message, field, enum and value has a comment."""
    for name, text in contract.comments().items():
        if not text:
            yield name, "has no comment"


def error_codes(contract) -> Iterator[tuple]:
    """AIP-193: a method's comment names the error codes that its shape implies."""
    comments = contract.comments()
    for service, method in contract.methods():
        text = comments[f"{service.name}.{method.name}"]
        for code, why in _implied_codes(contract, method) if text else ():
            if code not in text:
                yield f"{service.name}.{method.name}", f"does not name {code}: {why}"


def _implied_codes(contract, method) -> Iterator[tuple]:
    kind = standard(method.name)
    request = contract.message(method.input_type)
    if request is None:
        return
    body = shapes.resource_field(contract, request)
    resource = contract.message(body.type_name) if body else None
    sent = [f.name for f in [*request.field, *(resource.field if resource else [])]]
    if kind in ("Get", "Update", "Delete"):
        yield "NOT_FOUND", "it works on one stored resource"
    elif kind and any(name.endswith("_id") and name != "request_id" for name in sent):
        yield "NOT_FOUND", "it names a parent"
    if kind in ("Update", "Delete") and "etag" in sent:
        yield "ABORTED", "it takes an etag"
    if "request_id" in sent:
        yield "ALREADY_EXISTS", "it takes a request_id"


def string_rules(contract) -> Iterator[tuple]:
    """Text from callers is bounded by a rule: no string may be anything at all."""
    for name, message in shapes.sent(contract).items():
        for field in message.field:
            if field.type != field.TYPE_STRING or "OUTPUT_ONLY" in contract.behaviors(field):
                continue
            rules = contract.rules(field)
            # Of a repeated string it is each item that must be bounded.
            if field.label == field.LABEL_REPEATED:
                rules = rules.repeated.items
            bounded = rules.string.HasField("pattern") or rules.string.uuid
            if not (bounded or getattr(rules.string, "in") or field.name in OPAQUE_STRINGS):
                yield f"{name}.{field.name}", "has no pattern, in or uuid rule"


def ids_in_javascript(contract) -> Iterator[tuple]:
    """A 64-bit id is a string in generated JavaScript, whose numbers lose digits beyond 2^53."""
    for name, message in contract.messages().items():
        for field in message.field:
            if field.type not in shapes.INTEGERS_64 or not IDS.match(field.name):
                continue
            if field.options.jstype != field.options.JS_STRING:
                yield f"{name}.{field.name}", "has no jstype = JS_STRING"


CHECKS: list[Callable] = [
    shapes.standard_methods,
    shapes.custom_methods,
    shapes.http_rules,
    field_behavior,
    paging,
    update_mask,
    validate_only,
    request_id,
    units,
    comments_everywhere,
    error_codes,
    string_rules,
    ids_in_javascript,
]


def findings(contract) -> list[Finding]:
    """Everything that is wrong with the contract."""
    return [Finding(check.__name__, *found) for check in CHECKS for found in check(contract)]
