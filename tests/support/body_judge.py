"""What the gateway must say of a JSON body, as Python's own parser and the descriptors have it."""

import json

NO_JSON = "no JSON"
MAX_DEPTH = 100
SPACE = b" \t\n\v\f\r"


class _Members(list):
    """An object, with each member that has the same name."""


class _NoJson(Exception):
    pass


def judge(body, message, prefix):
    """NO_JSON, or the violations as `(field, reason)`; `message` is a descriptor."""
    if not body.strip(SPACE):
        return []
    try:
        if b"\0" in body:
            raise _NoJson
        value = json.loads(
            body.decode(), object_pairs_hook=_Members, parse_constant=_refuse, parse_float=_number,
            parse_int=_number,
        )  # fmt: skip
        _check_texts(value, 0)
        if not isinstance(value, _Members) and value is not None:
            raise _NoJson
    except (_NoJson, ValueError, RecursionError):
        return NO_JSON
    found = []
    _walk(value, message, None, prefix, found)
    return found


def _refuse(_):
    raise _NoJson


def _number(text):
    number = float(text)
    if abs(number) == float("inf"):
        raise _NoJson
    return number


def _check_texts(value, depth):
    """Surrogates stand in pairs; the depth has an end."""
    if isinstance(value, str):
        value.encode()  # Raises ValueError for a surrogate alone.
    elif isinstance(value, list):
        if depth == MAX_DEPTH:
            raise _NoJson
        for one in value:
            if isinstance(value, _Members):
                _check_texts(one[0], depth + 1)
            _check_texts(one[1] if isinstance(value, _Members) else one, depth + 1)


def _walk(value, message, field, place, found):
    """`message` is that of an object, if it is known; `field` that of the value, if it is."""
    if isinstance(value, _Members):
        if field and field.message_type and field.message_type.full_name == "google.protobuf.Timestamp":
            found.append((place, "json.text"))
        if not message:
            return
        fields = {**message.fields_by_camelcase_name, **message.fields_by_name}
        for name, member in value:
            inner = f"{place}.{name}" if place else name
            if name in fields:
                _walk(member, _message_of(fields[name]), fields[name], inner, found)
            else:
                found.append((inner, "field.known"))
    elif isinstance(value, list) and field:
        for index, element in enumerate(value):
            inner = f"{place}[{index}]"
            if element is None and field.is_repeated:
                found.append((inner, "json.null"))
            _walk(element, message, field, inner, found)


def _message_of(field):
    message = field.message_type
    return message if message and message.file.package != "google.protobuf" else None
