"""Returns the rules of the contract in the words of proto/README.md, with protovalidate's ids."""

YEAR_1 = -62135596800
YEAR_9999 = (253402300799, 999999999)
PATTERNS = {
    r"^[^\x00-\x1F\x7F-\x{9F}]*$": "no control characters",
    "^[A-Za-z0-9._:-]{1,100}$": "1 to 100 letters, digits, `.`, `_`, `:` or `-`",
    "^(hour|day|week|month|[1-9][0-9]{0,7}s)$":
        "`hour`, `day`, `week`, `month`, or seconds such as `900s`",
    "^[A-Za-z0-9_+/-]{1,64}$": "1 to 64 letters, digits, `_`, `+`, `/` or `-`",
}  # fmt: skip


def say(rules):
    """(what a value must be, ids of the rules), of a buf.validate.FieldRules. A rule that this does
    not know is an error."""
    words, ids = [], []
    if rules.required:
        words.append("set")
        ids.append("required")
    ignore = rules.DESCRIPTOR.fields_by_name["ignore"].enum_type.values_by_number[rules.ignore].name
    if ignore == "IGNORE_ALWAYS":
        return "checked by its fields in the mask", []
    if ignore == "IGNORE_IF_ZERO_VALUE":
        words.append("empty, or")
    else:
        assert ignore == "IGNORE_UNSPECIFIED", ignore
    kind = rules.WhichOneof("type")
    if kind:
        said = {field.name: value for field, value in getattr(rules, kind).ListFields()}
        items = said.pop("items", None)
        for text, *names in _SAYERS[kind](said):
            words.append(text)
            ids += [f"{kind}.{name}" for name in names]
        assert not said, f"no words for {kind}.{set(said)}"
        if items:
            text, item_ids = say(items)
            words.append(f"each {text}")
            ids += item_ids
    return ", ".join(words).replace("or,", "or"), ids


def _number(said):
    if {"gte", "lte"} <= said.keys():
        yield f"{said.pop('gte'):g} to {said.pop('lte'):g}", "gte_lte"
    for name, sign in (("gt", "more than"), ("gte", "at least")):
        if name in said:
            yield f"{sign} {said.pop(name):g}", name
    if said.pop("finite", False):
        yield "finite", "finite"


def _string(said):
    if {"min_len", "max_len"} <= said.keys():
        yield f"{said.pop('min_len')} to {said.pop('max_len')} characters", "min_len", "max_len"
    if "pattern" in said:
        yield PATTERNS[said.pop("pattern")], "pattern"
    if "in" in said:
        yield " or ".join(f"`{one}`" for one in said.pop("in")), "in"
    if said.pop("uuid", False):
        yield "a UUID", "uuid"


def _repeated(said):
    most = said.pop("max_items")
    if "min_items" in said:
        yield f"{said.pop('min_items'):,} to {most:,} items", "min_items", "max_items"
    else:
        yield f"at most {most:,} items", "max_items"


def _timestamp(said):
    first, last = said.pop("gte"), said.pop("lte")
    assert (first.seconds, first.nanos) == (YEAR_1, 0) and (last.seconds, last.nanos) == YEAR_9999
    yield "in the years 1 to 9999", "gte_lte"


_SAYERS = {"double": _number, "int32": _number, "int64": _number, "string": _string,
           "repeated": _repeated, "timestamp": _timestamp}  # fmt: skip
