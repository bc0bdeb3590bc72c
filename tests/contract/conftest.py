"""What the contract's tests share: what the build makes of the .proto files."""

import sys

import pytest

from support.process import BUILD, ROOT

# contract.py and openapi_bounds.py stand beside the .proto files: the build uses them too.
sys.path.insert(0, str(ROOT / "proto"))


@pytest.fixture(scope="session")
def build_output():
    """Reads a file of the build folder; names the target to build if it is not there."""

    def read(name: str, target: str) -> bytes:
        path = BUILD / name
        if not path.exists():
            pytest.fail(f"{path} is missing: build the target {target}", pytrace=False)
        return path.read_bytes()

    return read


@pytest.fixture(scope="session")
def descriptor_set(build_output) -> bytes:
    return build_output("energy_sites.pb", "energysites_descriptor_set")


@pytest.fixture
def contract(descriptor_set):
    """The contract, decoded anew for each test, which may change it."""
    from contract import Contract

    return Contract(descriptor_set)
