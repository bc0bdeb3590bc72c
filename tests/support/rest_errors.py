"""The shape that every error of REST has."""

from google.protobuf import json_format
from google.rpc import code_pb2, error_details_pb2, status_pb2


# The details of a Status are known by their types.
assert error_details_pb2.DESCRIPTOR


def check(response, http_code, rpc_code, text=""):
    """Asserts the whole shape of an error, and returns it as a google.rpc.Status."""
    assert response.status_code == http_code, response.text
    assert response.headers["content-type"] == "application/json"
    # Strict: a field that Status does not have fails, and so does a detail of an unknown type.
    status = json_format.Parse(response.text, status_pb2.Status())
    assert code_pb2.Code.Name(status.code) == rpc_code
    assert text in status.message
    return status


def details(status, kind):
    """The detail of this kind; fails if there is none."""
    for packed in status.details:
        found = kind()
        if packed.Unpack(found):
            return found
    raise AssertionError(f"no {kind.DESCRIPTOR.name} in {status}")
