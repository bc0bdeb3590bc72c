"""schemathesis: calls made up from the OpenAPI document, through Envoy, on the real service.

The short form makes the same calls each time; FUZZ_EXAMPLES=1000 makes so many of each operation.
"""

import os
import re

import hypothesis
import pytest
import schemathesis
import yaml
from schemathesis import checks
from support.envoy import Envoy
from support.process import BUILD
from support.server import Server

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "0"))

# A code of google.rpc.Code for each status of an error.
CODES = {
    400: {3, 9}, 404: {5}, 405: {12}, 408: {4}, 409: {6, 10}, 413: {8}, 429: {8}, 431: {8},
}  # fmt: skip

CHECKS = [
    checks.not_a_server_error,
    checks.content_type_conformance,
    checks.status_code_conformance,
    checks.response_schema_conformance,
]



def document():
    """The document, but for dots in the names of path parameters, which schemathesis cannot read."""
    described = yaml.safe_load((BUILD / "openapi.yaml").read_text(encoding="utf-8"))
    for item in described["paths"].values():
        for operation in item.values():
            for parameter in operation.get("parameters", ()):
                if parameter["in"] == "path":
                    parameter["name"] = parameter["name"].replace(".", "_")
    described["paths"] = {
        re.sub(r"{.*?}", lambda name: name[0].replace(".", "_"), path): item
        for path, item in described["paths"].items()
    }
    return described


schema = schemathesis.openapi.from_dict(document())
# Every bound of every field, some thousand calls: the long form's. (Methods that a path does not
# have are tests/bruno's; schemathesis 4.32 fails to make them up.)
schema.config.phases.coverage.enabled = bool(EXAMPLES)
schema.config.phases.coverage.unexpected_methods = set()
# A watch has no end.
finite = schema.exclude(path="/v1/liveData:watch")


@pytest.fixture(scope="module")
def url(postgres, tmp_path_factory):
    folder = tmp_path_factory.mktemp("openapi")
    database = postgres.new_database()
    server = Server(database, folder)
    try:
        envoy = Envoy(server.port, folder)
        try:
            yield envoy.url
        finally:
            envoy.process.kill()
        assert server.process.runs()
    finally:
        server.kill()
        postgres.drop(database)


@finite.parametrize()
@hypothesis.settings(
    max_examples=EXAMPLES or 15,
    derandomize=not EXAMPLES,
    database=None,
    deadline=None,
    suppress_health_check=list(hypothesis.HealthCheck),
)
def test_answers_are_what_the_document_says(case, url):
    response = case.call(base_url=url, timeout=30)
    case.validate_response(response, checks=CHECKS)
    if response.status_code != 200:
        error = response.json()
        assert error["code"] in CODES[response.status_code], error
        # Empty where Envoy has no text, as for a path that it cannot normalize.
        assert isinstance(error["message"], str) and isinstance(error["details"], list), error
