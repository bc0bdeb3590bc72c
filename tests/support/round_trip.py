"""Resources with a value for every settable field of the contract, and checks of the result."""

import csv
import json

from buf.validate import validate_pb2
from google.api import field_behavior_pb2
from google.protobuf import json_format

from support.calls import JUNE

UNIT = 1 / 8  # The step between values of one field; exact in binary.


def behaviors(field):
    return field.GetOptions().Extensions[field_behavior_pb2.field_behavior]


def settable(kind):
    """The fields that a caller may set; an etag identifies a version and is not stored."""
    return [
        field for field in kind.DESCRIPTOR.fields
        if field_behavior_pb2.OUTPUT_ONLY not in behaviors(field) and field.name != "etag"
    ]  # fmt: skip


def clearable(field):
    return field_behavior_pb2.OPTIONAL in behaviors(field)


def samples(kind, site_id=None):
    """Three messages with different values; the first one has no optional fields."""
    found = []
    for n in range(3):
        message = kind()
        for field in settable(kind):
            if n > 0 or not clearable(field):
                _set(message, field, site_id if field.name == "site_id" else _value(field, n))
        found.append(message)
    return found


def _set(message, field, value):
    if field.message_type:
        getattr(message, field.name).FromNanoseconds(value)
    else:
        setattr(message, field.name, value)


def _value(field, n):
    """The n-th value that the field's rules allow, other than its default."""
    rules = field.GetOptions().Extensions[validate_pb2.field]
    if field.type == field.TYPE_BOOL:
        return (field.number + n) % 2 == 0
    if field.type == field.TYPE_STRING:
        allowed = getattr(rules.string, "in")
        return allowed[n % len(allowed)] if allowed else f"{field.name} {n}"
    if field.type == field.TYPE_DOUBLE:
        return _number(field, rules.double, n)
    if field.type in (field.TYPE_INT32, field.TYPE_INT64):
        bounds = rules.int32 if field.type == field.TYPE_INT32 else rules.int64
        return int(_number(field, bounds, n, step=1))
    assert field.message_type.full_name == "google.protobuf.Timestamp", f"no value for {field.name}"
    return (JUNE + 3600 * n) * 10**9 + field.number * 1000


def _number(field, bounds, n, step=UNIT):
    set_bounds = {one.name: value for one, value in bounds.ListFields()}
    low = set_bounds.get("gte", set_bounds.get("gt", 0))
    value = low + field.number + (n + 1) * step
    high = set_bounds.get("lte", set_bounds.get("lt"))
    assert high is None or value < high, f"no value for {field.name}"
    return value


def lost(way, sent, got):
    """A line for each field of `sent` that is missing in `got`; both lists are in the same order."""
    if len(sent) != len(got):
        return [f"{way}: {len(got)} of {len(sent)}"]
    found = {}
    for one, other in zip(sent, got):
        for field in settable(type(one)):
            if _read(one, field) != _read(other, field):
                line = f"{way}: {type(one).__name__}.{field.name}"
                found.setdefault(line, f"{line}: {_read(other, field)}, not {_read(one, field)}")
    return list(found.values())


def _read(message, field):
    """None if it is not set."""
    if not message.HasField(field.name):
        return None
    value = getattr(message, field.name)
    return value.ToJsonString() if field.message_type else value


def as_json(message, without=()):
    found = json_format.MessageToDict(message, preserving_proto_field_name=True)
    return {name: value for name, value in found.items() if name not in without}


def of_json(kind, value):
    return json_format.ParseDict(value, kind())


def of_lines(kind, text):
    """The rows of an NDJSON download, without its end line."""
    return [of_json(kind, one) for one in map(json.loads, text.splitlines()) if "end" not in one]


def of_csv(kind, text, site_id):
    """The rows of a download or an export; `site_name` is used instead of `site_id`."""
    lines = [line for line in text.splitlines() if not line.startswith("# end")]
    found = []
    for row in csv.DictReader(lines):
        if row.pop("site_name", None) is not None:
            row["site_id"] = site_id
        cells = {name: _cell(kind, name, text) for name, text in row.items() if text != ""}
        found.append(of_json(kind, cells))
    return found


def _cell(kind, name, text):
    field = kind.DESCRIPTOR.fields_by_name[name]
    return {"true": True, "false": False}[text] if field.type == field.TYPE_BOOL else text


def write_csv(path, messages, site_name=None):
    """A file for `import`, with a column for every settable field."""
    names = [field.name for field in settable(type(messages[0]))]
    columns = ["site_name" if name == "site_id" else name for name in names]
    with open(path, "w", encoding="utf-8", newline="") as file:
        rows = csv.DictWriter(file, columns)
        rows.writeheader()
        for message in messages:
            row = as_json(message)
            if row.pop("site_id", None) is not None:
                row["site_name"] = site_name
            rows.writerow({name: str(value).lower() if isinstance(value, bool) else value
                           for name, value in row.items()})  # fmt: skip
