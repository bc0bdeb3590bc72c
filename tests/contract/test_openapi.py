"""The OpenAPI document is valid, complete, and carries the contract's bounds."""

import re

import pytest
import yaml
from jsonschema import Draft4Validator
from openapi_spec_validator import OpenAPIV30SpecValidator

import openapi_bounds


@pytest.fixture(scope="module")
def document(build_output):
    return yaml.safe_load(build_output("openapi.yaml", "energysites_openapi"))


@pytest.fixture(scope="module")
def schemas(document):
    return document["components"]["schemas"]


def bindings(contract):
    return [(m, b) for _, m in contract.methods() for b in contract.bindings(m)]


def validator(document, schema):
    """OpenAPI 3.0's schemas are JSON Schema of draft 4, as far as we use them."""
    return Draft4Validator({**document, **schema})


def test_it_is_valid_openapi_3(document):
    assert re.fullmatch(r"3\.0\.\d", document["openapi"])
    assert list(OpenAPIV30SpecValidator(document).iter_errors()) == []


def test_every_binding_is_a_path_and_every_path_a_binding(document, contract):
    declared = {(b.path, b.verb) for _, b in bindings(contract)}
    described = {(path, verb) for path, item in document["paths"].items() for verb in item}
    assert declared and described == declared


def test_required_fields(schemas):
    assert schemas["Site"]["required"] == ["name", "location"]
    assert set(schemas["LiveDataEntry"]["required"]) == {
        "site_id", "dt_stamp", "soc", "load_kwh", "net_load_kwh",
        "pv_notification", "bio_notification", "cro_notification",
    }


@pytest.mark.parametrize(
    ("schema", "name", "keywords"),
    [
        ("LiveDataEntry", "soc", {"type": "number", "minimum": 0, "maximum": 100}),
        ("LiveDataEntry", "load_kwh", {"minimum": 0}),
        ("LiveDataEntry", "dt_stamp", {"type": "string", "format": "date-time"}),
        ("LiveDataEntry", "site_id", {"type": "string", "pattern": "^[1-9][0-9]{0,18}$"}),
        ("LiveDataEntry", "id", {"type": "string", "format": "int64", "readOnly": True}),
        ("Site", "name", {"minLength": 1, "maxLength": 255,
                          "pattern": r"^[^\x00-\x1F\x7F-\u009F]*$"}),
        ("Configuration", "battery_vendor", {"enum": ["Tesla", "KATL"]}),
        ("Configuration", "production_pv_units", {"type": "integer", "minimum": 0}),
        ("GetLatestLiveDataResponse", "missing_site_ids", {"type": "array"}),
        ("BatchCreateLiveDataEntriesRequest", "entries", {"minItems": 1, "maxItems": 10000}),
        ("BatchCreateLiveDataEntriesRequest", "request_id", {"format": "uuid"}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bounds_of_fields(schemas, schema, name, keywords):
    assert schemas[schema]["properties"][name].items() >= keywords.items()


@pytest.mark.parametrize(
    ("path", "verb", "name", "keywords"),
    [
        ("/v1/sites", "get", "page_size", {"type": "integer", "minimum": 0}),
        ("/v1/sites/{id}", "get", "id", {"type": "string", "pattern": "^[1-9][0-9]{0,18}$"}),
        ("/v1/liveData", "get", "site_id", {"pattern": "^(0|[1-9][0-9]{0,18})$"}),
        ("/v1/liveData", "get", "order_by", {"enum": ["", "dt_stamp", "dt_stamp desc"]}),
        ("/v1/liveData:download", "get", "format", {"enum": ["", "csv", "ndjson"]}),
        ("/v1/liveData:latest", "get", "site_ids",
         {"minItems": 1, "maxItems": 1000,
          "items": {"type": "string", "pattern": "^[1-9][0-9]{0,18}$"}}),
        ("/v1/liveData:aggregate", "get", "time_zone", {"pattern": "^$|^[A-Za-z0-9_+/-]{1,64}$"}),
        ("/v1/sites", "post", "request_id", {"format": "uuid"}),
        ("/v1/sites/{live_data_entry.site_id}/liveData", "post", "live_data_entry.site_id",
         {"pattern": "^[1-9][0-9]{0,18}$"}),
    ],
)
def test_bounds_of_parameters(document, path, verb, name, keywords):
    parameters = {p["name"]: p for p in document["paths"][path][verb]["parameters"]}
    assert parameters[name]["schema"].items() >= keywords.items()
    assert parameters[name]["description"]


def test_every_int64_is_a_string(contract, schemas):
    """As in Envoy's JSON; a number of JavaScript would lose the low digits of an id."""
    found = 0
    for name, message in contract.messages().items():
        for field in message.field if name in schemas else ():
            if field.type == field.TYPE_INT64:
                found += 1
                schema = schemas[name]["properties"][field.name]
                assert schema.get("items", schema)["type"] == "string", field.name
    assert found


def test_what_streams_says_so(document, contract):
    """One answer a line; but a download is a file."""
    for method, binding in bindings(contract):
        good = document["paths"][binding.path][binding.verb]["responses"]["200"]
        assert ("line" in good["description"]) == method.server_streaming
        assert ("*/*" in good["content"]) == (method.name == "DownloadLiveData")


def body(document, path, verb):
    return document["paths"][path][verb]["requestBody"]["content"]["application/json"]["schema"]


SITE = {"name": "Sonnenhof", "location": "Freiburg"}
LONGEST = "🏡" * 255
ENTRY = {
    "site_id": "1", "dt_stamp": "2016-01-01T00:00:00Z",
    "soc": 100, "load_kwh": 0, "net_load_kwh": 0.5,
    "pv_notification": False, "bio_notification": False, "cro_notification": True,
}
IN_PATH = {name: value for name, value in ENTRY.items() if name != "site_id"}


@pytest.mark.parametrize(
    ("path", "verb", "value", "good"),
    [
        ("/v1/sites", "post", SITE, True),
        ("/v1/sites", "post", {**SITE, "name": LONGEST}, True),
        ("/v1/sites", "post", {**SITE, "name": LONGEST + "x"}, False),
        ("/v1/sites", "post", {**SITE, "name": ""}, False),
        ("/v1/sites", "post", {**SITE, "name": "a\x00b"}, False),
        ("/v1/sites", "post", {**SITE, "name": "a\x9f"}, False),
        ("/v1/sites", "post", {**SITE, "name": "a\xa0b"}, True),
        ("/v1/sites", "post", {"name": "Sonnenhof"}, False),
        ("/v1/sites/{site.id}", "patch", {"name": "Sonnenhof"}, True),
        ("/v1/sites/{site.id}", "patch", {"name": ""}, False),
        ("/v1/liveData", "post", ENTRY, True),
        ("/v1/liveData", "post", {**ENTRY, "soc": 100.5}, False),
        ("/v1/liveData", "post", {**ENTRY, "soc": -0.5}, False),
        ("/v1/liveData", "post", {**ENTRY, "site_id": "0"}, False),
        ("/v1/liveData", "post", {**ENTRY, "site_id": "9223372036854775807"}, True),
        ("/v1/liveData", "post", IN_PATH, False),
        ("/v1/sites/{live_data_entry.site_id}/liveData", "post", IN_PATH, True),
        ("/v1/liveData:batchCreate", "post", {"entries": [ENTRY]}, True),
        ("/v1/liveData:batchCreate", "post", {"entries": [ENTRY, {**ENTRY, "soc": 101}]}, False),
        ("/v1/liveData:batchCreate", "post", {"entries": []}, False),
    ],
)
def test_bodies(document, path, verb, value, good):
    assert validator(document, body(document, path, verb)).is_valid(value) == good


def test_a_field_of_the_path_is_not_in_the_body(document, contract, schemas):
    for _, binding in bindings(contract):
        for outer, name in re.findall(r"\{(\w+)\.(\w+)\}", binding.path):
            assert outer == binding.body
            reference = body(document, binding.path, binding.verb)["$ref"]
            assert name not in schemas[reference.rsplit("/", 1)[1]]["properties"]


def test_a_rule_without_keyword_is_an_error_and_not_dropped(contract):
    name = contract.field_at(contract.messages()["Site"], "name")
    contract.rules(name).string.prefix = "Site "
    with pytest.raises(ValueError, match=r"string\.prefix"):
        openapi_bounds.bounds(contract.rules(name))
