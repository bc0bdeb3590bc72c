"""The format of all REST errors."""

from google.protobuf import json_format
from google.rpc import code_pb2, error_details_pb2, status_pb2


# Registers the types of the details of a Status.
assert error_details_pb2.DESCRIPTOR


def check(response, http_code, rpc_code, text=""):
    """Checks the format of an error and returns it as a google.rpc.Status."""
    assert response.status_code == http_code, response.text
    assert response.headers["content-type"] == "application/json"
    # Strict: fails for a field that Status does not have and for a detail of unknown type.
    status = json_format.Parse(response.text, status_pb2.Status())
    assert code_pb2.Code.Name(status.code) == rpc_code
    assert text in status.message
    return status


def details(status, kind):
    """The detail of this type; fails if there is none."""
    for packed in status.details:
        found = kind()
        if packed.Unpack(found):
            return found
    raise AssertionError(f"no {kind.DESCRIPTOR.name} in {status}")
