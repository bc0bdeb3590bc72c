"""Completes the OpenAPI document that protoc-gen-openapi makes of the contract.

The generator knows the shapes but not the rules, and its own `openapi.v3` annotations would state
every rule a second time. So this copies the bounds from the buf.validate options into the schemas,
and mends what the generator gets wrong for partial updates, for fields that stand in the path, and
for methods with several bindings.

Usage: openapi_bounds.py DESCRIPTOR_SET GENERATED_YAML OUTPUT_YAML
"""

import copy
import re
import sys

import yaml

from contract import Contract

# Rules that have an equal keyword in OpenAPI 3.0, where an exclusive bound is a flag.
KEYWORDS = {
    "gte": lambda value: {"minimum": value},
    "gt": lambda value: {"minimum": value, "exclusiveMinimum": True},
    "lte": lambda value: {"maximum": value},
    "lt": lambda value: {"maximum": value, "exclusiveMaximum": True},
    "in": lambda value: {"enum": list(value)},
    "min_len": lambda value: {"minLength": value},
    "max_len": lambda value: {"maxLength": value},
    "pattern": lambda value: {"pattern": _ecma_pattern(value)},
    "uuid": lambda value: {"format": "uuid"} if value else {},
    "min_items": lambda value: {"minItems": value},
    "max_items": lambda value: {"maxItems": value},
}

# In JSON an int64 is a string, so its bounds become the string's pattern.
INT64_PATTERNS = {("gt", 0): "^[1-9][0-9]{0,18}$", ("gte", 0): "^(0|[1-9][0-9]{0,18})$"}

# Rules that JSON Schema has no keyword for: its numbers are always finite, and a date-time has a
# year of four digits and no bounds.
UNSAID = {("double", "finite"), ("timestamp", "gte"), ("timestamp", "lte")}


def bounds(rules) -> dict:
    """The schema keywords of one field's FieldRules. An unknown rule is an error, never dropped."""
    keywords = {}
    kind = rules.WhichOneof("type")
    for rule, value in getattr(rules, kind).ListFields() if kind else []:
        if (kind, rule.name) in UNSAID:
            continue
        if kind == "int64" and (rule.name, value) in INT64_PATTERNS:
            keywords["pattern"] = INT64_PATTERNS[rule.name, value]
        elif kind == "repeated" and rule.name == "items":
            keywords["items"] = bounds(value)
        elif kind != "int64" and rule.name in KEYWORDS:
            keywords.update(KEYWORDS[rule.name](value))
        else:
            raise ValueError(f"no OpenAPI keyword for the rule {kind}.{rule.name}: {value}")
    ignore = rules.DESCRIPTOR.fields_by_name["ignore"].enum_type.values_by_number[rules.ignore].name
    if ignore == "IGNORE_ALWAYS":
        return {}
    if ignore == "IGNORE_IF_ZERO_VALUE" and keywords:
        if kind == "string" and set(keywords) == {"enum"}:
            keywords["enum"].insert(0, "")
        elif kind == "string" and set(keywords) == {"pattern"}:
            keywords["pattern"] = f"^$|{keywords['pattern']}"
        else:
            raise ValueError(f"no OpenAPI keywords for {ignore} with {sorted(keywords)}")
    return keywords


def _ecma_pattern(re2: str) -> str:
    """RE2's \\x{9F} as OpenAPI's dialect of regular expressions writes it: \\u009F."""
    return re.sub(r"\\x\{([0-9A-Fa-f]{1,4})\}", lambda hit: "\\u" + hit[1].zfill(4), re2)


def refine(schema: dict, contract: Contract, field) -> None:
    """Adds to a field's schema what the contract says about it."""
    keywords = bounds(contract.rules(field))
    schema.get("items", {}).update(keywords.pop("items", {}))
    schema.update(keywords)
    if field.type == field.TYPE_INT64 and field.label != field.LABEL_REPEATED:
        schema["format"] = "int64"


def refine_schemas(document: dict, contract: Contract) -> None:
    for name, message in contract.messages().items():
        schema = document["components"]["schemas"].get(name)
        if schema is None:
            continue  # A request whose fields all stand in the path, the query or the body.
        required = schema.get("required", [])
        for field in message.field:
            refine(schema["properties"][field.name], contract, field)
            if contract.rules(field).required and field.name not in required:
                required.append(field.name)
        if required:
            schema["required"] = required


def refine_operation(operation: dict, contract: Contract, method, binding) -> None:
    request = contract.message(method.input_type)
    for parameter in operation.get("parameters", []):
        field = contract.field_at(request, parameter["name"])
        refine(parameter["schema"], contract, field)
        if not parameter.get("description"):
            holder = request
            *outer, last = parameter["name"].split(".")
            for name in outer:
                holder = contract.message(contract.field_at(holder, name).type_name)
            parameter["description"] = contract.comments()[f"{holder.name}.{last}"]
    if method.server_streaming:
        # OpenAPI 3.0 cannot say more of a stream than this.
        operation["responses"]["200"]["description"] = "A stream, line by line"
    if binding.index:
        operation["operationId"] += str(binding.index + 1)


def refine_body(document: dict, operation: dict, contract: Contract, method, binding) -> None:
    """Gives a body its own schema where it may not be the whole resource.

    A field that stands in the path must not be in the body too (the edge refuses it), and nothing
    is required of the resource of an update, which may be partial (`ignore: IGNORE_ALWAYS`).
    """
    if binding.body in ("", "*"):
        return
    field = contract.field_at(contract.message(method.input_type), binding.body)
    in_path = re.findall(r"\{%s\.(\w+)\}" % re.escape(binding.body), binding.path)
    rules = contract.rules(field)
    always = rules.DESCRIPTOR.fields_by_name["ignore"].enum_type.values_by_name["IGNORE_ALWAYS"]
    partial = rules.ignore == always.number
    if not in_path and not partial:
        return
    schemas = document["components"]["schemas"]
    schema = copy.deepcopy(schemas[field.type_name.rsplit(".", 1)[1]])
    for name in in_path:
        del schema["properties"][name]
    required = [name for name in schema.pop("required", []) if name not in in_path]
    if required and not partial:
        schema["required"] = required
    name = f"{method.name}Body{binding.index + 1 if binding.index else ''}"
    schemas[name] = schema
    content = operation["requestBody"]["content"]["application/json"]
    content["schema"] = {"$ref": f"#/components/schemas/{name}"}


def unindent_descriptions(node) -> None:
    """The generator leaves the blank after each `//` of a comment but the first."""
    for value in node.values() if isinstance(node, dict) else node:
        if isinstance(value, (dict, list)):
            unindent_descriptions(value)
    if isinstance(node, dict) and isinstance(node.get("description"), str):
        node["description"] = node["description"].replace("\n ", "\n")


def complete(document: dict, contract: Contract) -> None:
    """Completes the generated document in place."""
    unindent_descriptions(document)
    refine_schemas(document, contract)
    for _, method in contract.methods():
        for binding in contract.bindings(method):
            operation = document["paths"][binding.path][binding.verb]
            refine_operation(operation, contract, method, binding)
            refine_body(document, operation, contract, method, binding)


class Dumper(yaml.SafeDumper):
    """Writes text of several lines as lines."""


Dumper.add_representer(
    str,
    lambda dumper, text: dumper.represent_scalar(
        "tag:yaml.org,2002:str", text, style="|" if "\n" in text else None
    ),
)


def main(descriptor_set: str, generated: str, output: str) -> None:
    with open(descriptor_set, "rb") as file:
        contract = Contract(file.read())
    with open(generated, encoding="utf-8") as file:
        document = yaml.safe_load(file)
    complete(document, contract)
    with open(output, "w", encoding="utf-8") as file:
        file.write("# Generated from proto/energysites/v1 by the target energysites_openapi.\n")
        yaml.dump(document, file, Dumper, sort_keys=False, allow_unicode=True, width=100)


if __name__ == "__main__":
    main(*sys.argv[1:])
