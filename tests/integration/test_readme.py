"""What the README shows and lists is what the service does and has."""

import collections
import os
import re
import shlex
import subprocess
import sys

import pytest
from energysites.v1 import sites_pb2
from google.rpc import code_pb2
from support import readme, rules
from support.calls import fail
from support.metrics import scrape
from support.process import BUILD, ROOT, wait_until
from support.server import BINARY

sys.path.insert(0, str(ROOT / "proto"))
from contract import Contract  # noqa: E402  (it stands beside the .proto files)

API = "| rpc | REST |"
RULES = "| field | of | must be | rule ids |"
FLAGS = "| flag | default | meaning |"
ERRORS = "| code | HTTP | when | details |"
PARTS = "| part | what it runs |"
METRICS = "| metric | meaning |"
SPEED = "| path | against | ours | theirs | unit | ratio |"


@pytest.fixture(scope="module")
def text():
    return readme.README.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def contract():
    return Contract((BUILD / "energy_sites.pb").read_bytes())


# About texts, and the first steps with one server.
pytestmark = pytest.mark.one_server("about the README, which begins with one server")


def run(command, places):
    """Runs a shown command with `places` in place of the shown addresses and folders."""
    for shown, real in places.items():
        command = command.replace(shown, real)
    return subprocess.run(
        ["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )


def exit_code(shown):
    """What the shown output says that the command ends with; grpcurl adds 64 to a gRPC code."""
    error = re.match(r"ERROR:\n  Code: (\w+)\n", shown)
    if not error:
        return 0
    name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", error[1]).upper()
    return 64 + code_pb2.Code.Value(name)


def test_every_shown_command_gives_the_shown_output(text, server, envoy, tmp_path):
    places = {
        "127.0.0.1:50051": server.address,
        "http://127.0.0.1:8080": envoy.url,
        "build/release/energy-sites import": f"{BINARY} import --target={server.address}",
        "build/release/energy-sites export": f"{BINARY} export --target={server.address}",
        "build/year": shlex.quote(str(tmp_path / "year")),
    }
    shown = readme.examples(text)
    assert len(shown) > 15
    assert {word for one in shown for word in ("grpcurl", "curl -s", "import", "export")
            if word in one.command} == {"grpcurl", "curl -s", "import", "export"}  # fmt: skip
    for one in shown:
        done = run(one.command, places)
        where = f"README.md:{one.line}: {one.command}\n{done.stdout}{done.stderr}"
        assert done.returncode == exit_code(one.shown), where
        output = done.stdout if done.returncode == 0 else done.stdout + done.stderr
        assert readme.normal(output) == readme.normal(one.shown), where


def api_rows(contract):
    """The rows of the API table: an rpc, and its bindings."""
    return [
        [f"`{service.name}/{method.name}`",
         "<br>".join(f"`{b.verb.upper()} {b.path}`" for b in contract.bindings(method)) or "gRPC only"]
        for service, method in contract.methods()
    ]  # fmt: skip


def rule_rows(contract):
    """The rows of the rules table. Fields of one name with the same rules share a row."""
    rows = collections.defaultdict(list)
    for name, message in contract.messages().items():
        for field in message.field:
            must, ids = rules.say(contract.rules(field))
            if must:
                rows[field.name, must, " ".join(f"`{one}`" for one in ids)].append(f"`{name}`")
    return [[f"`{field}`", ", ".join(owners), must, ids]
            for (field, must, ids), owners in rows.items()]  # fmt: skip


def markdown(rows):
    return "\n".join("| " + " | ".join(cells) + " |" for cells in rows)


def test_the_api_table_is_the_contract(text, contract):
    assert markdown(readme.table(text, API)) == markdown(api_rows(contract))


def test_the_rules_table_is_the_contract(text, contract):
    assert markdown(readme.table(text, RULES)) == markdown(rule_rows(contract))


def test_the_flags_table_is_the_program(text):
    """With names and defaults; DSNs are no flags."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("ENERGY_SITES_", "PG"))}
    printed = subprocess.run(
        [BINARY, "serve", "--print_config"],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    flags = dict(re.findall(r"^--(\w+)=(.*)$", printed, re.MULTILINE))
    flags["print_config"] = "false"
    listed = {}
    for flag, default, meaning in readme.table(text, FLAGS):
        (name,) = readme.codes(flag)
        listed[name.removeprefix("--")] = "".join(readme.codes(default))
        assert meaning
    assert listed == flags


def test_the_errors_table_is_the_code(text):
    """Each reason that the sources give stands in the table, and no other one."""
    sources = [path.read_text() for path in
               (ROOT / "services/errors/errors.cc", ROOT / "storage/errors/errors.cc")]  # fmt: skip
    given = set(re.findall(r'"([A-Z]+_[A-Z_]+|CONFLICT)"', "".join(sources)))
    rows = readme.table(text, ERRORS)
    listed = {name for row in rows for name in readme.codes(row[3]) if name.isupper()}
    # This one is the reason of a violation.
    assert listed == given - {"SITE_NOT_FOUND"}
    http = {"INVALID_ARGUMENT": "400", "FAILED_PRECONDITION": "400", "NOT_FOUND": "404",
            "ALREADY_EXISTS": "409", "ABORTED": "409", "RESOURCE_EXHAUSTED": "429",
            "UNAUTHENTICATED": "401", "PERMISSION_DENIED": "403",
            "UNAVAILABLE": "503", "DEADLINE_EXCEEDED": "504", "INTERNAL": "500"}  # fmt: skip
    assert {code: status for code, status, *_ in rows} == http


def test_the_metrics_table_is_the_program(text, server, stubs):
    def named():
        return set(re.findall(r"^# TYPE (energy_sites_\w+) ", scrape(server), re.MULTILINE))

    listed = {readme.codes(metric)[0] for metric, _ in readme.table(text, METRICS)}
    # A counter with labels is there once it has counted, and so is a step of maintenance.
    fail(stubs.sites.GetSite, sites_pb2.GetSiteRequest())
    wait_until(lambda: listed <= named(), 20, f"all of {sorted(listed)}")
    assert named() == listed


def test_the_parts_table_is_tests_run(text):
    parts = {p.name for p in (ROOT / "tests" / "parts").iterdir() if not p.suffix and p.is_file()}
    assert {readme.codes(part)[0] for part, _ in readme.table(text, PARTS)} == parts


def test_the_speeds_are_those_of_the_benchmark(text):
    results = (ROOT / "tests/bench/RESULTS.md").read_text(encoding="utf-8")
    rows = ["| " + " | ".join(row) + " |" for row in readme.table(text, SPEED)]
    assert len(rows) >= 10
    assert [row for row in rows if f"\n{row}" not in results] == []


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "deploy/README.md",
                                  "deploy/chart/README.md"])  # fmt: skip
def test_links_and_paths_lead_somewhere(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in link]
    paths = [path for path in readme.codes(re.sub(r"```.*?```", "", text, flags=re.DOTALL))
             if re.match(r"(proto|validation|storage|services|tests|deploy)/[\w/.-]*$", path)]  # fmt: skip
    places = [(ROOT / name).parent / link for link in links] + [ROOT / path for path in paths]
    assert [str(place) for place in places if not place.exists()] == []
