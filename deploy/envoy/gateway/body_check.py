"""What a REST write says beside the contract, such as unknown fields of a JSON body: 400.

The transcoder drops that, or reads it otherwise than meant. Before it, a program in Lua reads the
body, which the buffer filter before has as a whole. body_check/ has the program; the fields and
paths that it knows come from the contract.
"""

import itertools
import pathlib
import re

from typed import config, typed

NAME = "envoy.filters.http.lua"
# What Envoy calls an answer of the program.
DETAILS = "lua_response"

_FOLDER = pathlib.Path(__file__).parent / "body_check"
_WELL_KNOWN = ".google.protobuf."


def check(contract):
    return typed(
        NAME,
        "extensions.filters.http.lua.v3.Lua",
        default_source_code={"inline_string": program(contract)},
    )


def off():
    """For routes without a check: it would hold up a stream until its client is done."""
    return {NAME: config("extensions.filters.http.lua.v3.LuaPerRoute", disabled=True)}


def program(contract):
    parts = [f"local contract = {lua(table(contract))}\n"]
    for name in ("grammar", "fields", "errors"):
        source = (_FOLDER / f"{name}.lua").read_text(encoding="utf-8")
        parts.append(f"local {name} = (function()\n{source}end)()\n")
    return "".join(parts) + (_FOLDER / "filter.lua").read_text(encoding="utf-8")


def table(contract):
    """What the program knows of the contract.

    `bindings`: by HTTP method, a pattern of the path, the body's message type, its place in the
    request, and the fields that the path has. `types`: the fields of a message by both their names.
    """
    bindings, types = {}, {}
    for _, method in contract.methods():
        request = contract.message(method.input_type)
        for binding in contract.bindings(method):
            if binding.verb == "get":
                continue
            # A DELETE has no body in the contract; Envoy takes one for the whole request.
            prefix = binding.body if binding.body != "*" else ""
            body = contract.field_at(request, prefix).type_name if prefix else method.input_type
            variables = re.findall(r"\{([^}]+)\}", binding.path)
            spellings = [name for path in variables for name in names(contract, request, path)]
            bindings.setdefault(binding.verb.upper(), []).append({
                "path": pattern(binding.path),
                "type": add_type(contract, types, body),
                "prefix": prefix,
                "variables": dict.fromkeys(spellings, True),
            })  # fmt: skip
    return {"bindings": bindings, "types": types}


def pattern(path):
    """As a pattern of Lua. A verb behind a colon is a segment; a variable takes any."""
    segments = re.sub(r"\{[^}]+\}", "{}", path).replace(":", "/").split("/")
    if not all(re.fullmatch(r"\w*|\{\}", segment) for segment in segments):
        raise ValueError(f"{path}: the check of bodies does not know such a path")
    return "^" + "/".join(segments).replace("{}", "[^/]*") + "$"


def names(contract, request, path):
    """All that the query may call the field: `site.site_id` and `site.siteId`."""
    parts = path.split(".")
    fields = [contract.field_at(request, ".".join(parts[:end + 1])) for end in range(len(parts))]
    spellings = itertools.product(*({field.name, field.json_name} for field in fields))
    return sorted(".".join(spelling) for spelling in spellings)


def add_type(contract, types, type_name):
    """Adds the message, and what it holds, to `types`; returns its name."""
    message = contract.message(type_name)
    if message is None:
        raise ValueError(f"{type_name}: the check of bodies knows messages of the contract only")
    if message.name not in types:
        types[message.name] = {}
        for field in message.field:
            value = {}
            if field.label == field.LABEL_REPEATED:
                value["is_list"] = True
            if field.type_name == f"{_WELL_KNOWN}Timestamp":
                value["is_time"] = True
            # Times, masks and the like have a form of their own in JSON.
            is_message = field.type == field.TYPE_MESSAGE
            if is_message and not field.type_name.startswith(_WELL_KNOWN):
                value["type"] = add_type(contract, types, field.type_name)
            types[message.name].update({field.name: value, field.json_name: value})
    return message.name


def lua(value, indent=""):
    """A literal of Lua, of dicts, lists, True and texts without quotation marks."""
    if value is True:
        return "true"
    if isinstance(value, str):
        return f'"{value}"'
    inner = indent + "  "
    items = value if isinstance(value, list) else value.items()
    if isinstance(value, list):
        lines = [f"{inner}{lua(item, inner)},\n" for item in items]
    else:
        lines = [f'{inner}["{key}"] = {lua(item, inner)},\n' for key, item in items]
    return "{\n" + "".join(lines) + indent + "}" if lines else "{}"
