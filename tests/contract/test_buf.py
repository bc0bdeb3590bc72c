"""buf's checks: the contract's style, and that it only grows since the commit in proto/RELEASED."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support.process import ROOT

RELEASED = "proto/RELEASED"


def buf(*arguments, cwd):
    """Runs buf, that of our Python environment before any other."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    found = shutil.which("buf", path=path)
    assert found, "buf is missing: PyPI's buf-bin of tests/requirements.txt has it"
    return subprocess.run(
        [found, *arguments], cwd=cwd, capture_output=True, text=True, timeout=120, check=False
    )


def released_commit(root: Path = ROOT) -> str:
    """The commit that proto/RELEASED names; fails the test if this clone does not have it."""
    commit = (root / RELEASED).read_text().strip()
    known = subprocess.run(
        ["git", "cat-file", "-e", f"{commit}^{{commit}}"],
        cwd=root, capture_output=True, check=False,
    )
    if known.returncode:
        pytest.fail(
            f"{RELEASED} names commit {commit}, which this clone does not have"
            " (a shallow one? git fetch --unshallow)",
            pytrace=False,
        )
    return commit


@pytest.fixture
def workspace(tmp_path):
    """A copy of what buf reads, free to be changed."""
    copy = tmp_path / "workspace"
    copy.mkdir()
    shutil.copy(ROOT / "buf.yaml", copy)
    shutil.copytree(ROOT / ".deps/proto", copy / ".deps/proto")
    shutil.copytree(ROOT / "proto/energysites", copy / "proto/energysites")
    return copy


@pytest.fixture(scope="module")
def released_image(tmp_path_factory):
    """The released contract with the fetched imports, as an image of buf's."""
    folder = tmp_path_factory.mktemp("released")
    archive = subprocess.run(
        ["git", "archive", "--format=tar", released_commit(), "--", "proto/energysites"],
        cwd=ROOT, capture_output=True, check=True,
    )
    subprocess.run(["tar", "-x"], cwd=folder, input=archive.stdout, check=True)
    # Today's buf.yaml: it only says which folders there are and what is no fault.
    shutil.copy(ROOT / "buf.yaml", folder)
    shutil.copytree(ROOT / ".deps/proto", folder / ".deps/proto")
    image = folder / "released.binpb"
    built = buf("build", "proto", "-o", str(image), cwd=folder)
    assert built.returncode == 0, built.stderr
    return image


def breaking(cwd, image):
    return buf("breaking", "proto", "--against", str(image), "--exclude-imports", cwd=cwd)


def plant(workspace, file, old, new):
    path = workspace / "proto/energysites/v1" / file
    text = path.read_text()
    assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in {file}"
    path.write_text(text.replace(old, new))


def test_lint_is_clean():
    done = buf("lint", cwd=ROOT)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("optional string name = 2", "optional string siteName = 2", "lower_snake_case"),
        ("rpc CreateSite(CreateSiteRequest)", "rpc CreateSite(UpdateSiteRequest)", "request type"),
        ('import "google/protobuf/empty.proto";',
         'import "google/protobuf/empty.proto";\nimport "google/rpc/status.proto";', "unused"),
    ],
    ids=["field name", "request name", "unused import"],
)
def test_lint_finds_a_planted_fault(workspace, old, new, said):
    plant(workspace, "sites.proto", old, new)
    done = buf("lint", cwd=workspace)
    assert done.returncode != 0
    assert "sites.proto" in done.stdout and said in done.stdout


def test_the_contract_only_grew_since_its_release(released_image):
    done = breaking(ROOT, released_image)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_every_released_rest_call_is_still_there(released_image, contract):
    """buf does not look into options, and a lost binding breaks callers of REST all the same."""
    from contract import Contract

    def calls(one):
        return {
            (f"{service.name}.{method.name}", binding.verb, binding.path, binding.body)
            for service, method in one.methods()
            for binding in one.bindings(method)
        }

    released = calls(Contract(released_image.read_bytes()))
    assert len(released) > 10
    assert released - calls(contract) == set()


@pytest.mark.parametrize(
    ("file", "old", "new", "said"),
    [
        ("sites.proto", "  bool validate_only = 3 [(google.api.field_behavior) = OPTIONAL];\n}\n\n"
         "// Request of GetSite", "}\n\n// Request of GetSite", '"validate_only" on message'),
        ("live_data.proto", "optional double load_kwh = 5", "optional float load_kwh = 5",
         'changed type from "double" to "float"'),
        ("live_data.proto", "optional double load_kwh = 5", "optional double load_kwh = 15",
         '"5" with name "load_kwh"'),
        ("sites.proto", "rpc GetSite(GetSiteRequest)", "rpc FetchSite(GetSiteRequest)",
         '"GetSite" on service "Sites" was deleted'),
        ("configurations.proto", "optional string battery_vendor = 3",
         "optional string battery_maker = 3", "battery_vendor"),
    ],
    ids=["removed field", "changed type", "changed number", "renamed rpc", "renamed field"],
)
def test_a_planted_break_is_found(workspace, released_image, file, old, new, said):
    plant(workspace, file, old, new)
    done = breaking(workspace, released_image)
    assert done.returncode != 0
    assert file in done.stdout and said in done.stdout


def test_growth_is_no_break(workspace, released_image):
    plant(workspace, "sites.proto", "  string etag = 6 [",
          "  // What people say of it.\n  string note = 1000;\n\n  string etag = 6 [")
    assert breaking(workspace, released_image).returncode == 0


def test_an_absent_commit_is_said_clearly(tmp_path):
    (tmp_path / "proto").mkdir()
    (tmp_path / RELEASED).write_text("0" * 40 + "\n")
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    with pytest.raises(pytest.fail.Exception, match="0{40}, which this clone does not have"):
        released_commit(tmp_path)
