"""schemathesis: calls made up from the OpenAPI document, through Envoy, on the real service.

The short form makes the same calls each time; FUZZ_EXAMPLES=1000 makes so many of each operation.
"""

import os

import hypothesis
import pytest
import schemathesis
from support.envoy import Envoy
from support.process import BUILD
from support.server import Server

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "0"))

# A code of google.rpc.Code for each status of an error.
CODES = {
    400: {3, 9}, 404: {5}, 405: {12}, 408: {4}, 409: {6, 10}, 413: {8}, 429: {8}, 431: {8},
}  # fmt: skip

schema = schemathesis.openapi.from_path(BUILD / "openapi.yaml")
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
    max_examples=EXAMPLES or 25,
    derandomize=not EXAMPLES,
    database=None,
    deadline=None,
    suppress_health_check=list(hypothesis.HealthCheck),
)
def test_answers_are_what_the_document_says(case, url):
    response = case.call(base_url=url, timeout=30)
    status = response.status_code
    assert status < 500, (status, response.text)
    if status == 200:
        case.validate_response(
            response,
            checks=[schemathesis.checks.not_a_server_error],
        )
    else:
        assert response.headers["content-type"] == ["application/json"], response.text
        error = response.json()
        assert error["code"] in CODES[status], error
        assert error["message"] and isinstance(error["details"], list), error
