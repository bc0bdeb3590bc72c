"""The commands in the Markdown pages give the output shown, and their tables and links are right."""

import collections
import os
import re
import shlex
import subprocess
import sys

import pytest
from energysites.v1 import sites_pb2
from google.rpc import code_pb2
from support import markdown, rules
from support.calls import fail
from support.metrics import scrape
from support.process import BUILD, ROOT, wait_until
from support.server import BINARY

sys.path.insert(0, str(ROOT / "proto"))
from contract import Contract  # noqa: E402  (it stands beside the .proto files)

# No longer, so that a new reader reads all of it.
README_LINES = 250
API = "| rpc | REST |"
RULES = "| field | of | must be | rule ids |"
FLAGS = "| flag | default | meaning |"
ERRORS = "| code | HTTP | when | details |"
PARTS = "| part | what it runs |"
METRICS = "| metric | meaning |"
SPEED = "| path | against | ours | theirs | unit | ratio |"


@pytest.fixture(scope="module")
def contract():
    return Contract((BUILD / "energy_sites.pb").read_bytes())


pytestmark = pytest.mark.one_server("about the pages, whose commands use one server")


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


# What the commands of the pages use. Those of the second page continue those of the first.
SHOWN = {
    ("README.md", "clients/README.md"): {"grpcurl", "curl -s", "import", "export"},
    ("proto/README.md",): {"grpcurl", "curl -s"},
}


@pytest.mark.parametrize("pages", SHOWN, ids=" ".join)
def test_every_shown_command_gives_the_shown_output(pages, server, envoy, tmp_path):
    places = {
        "127.0.0.1:50051": server.address,
        "http://127.0.0.1:8080": envoy.url,
        "build/release/energy-sites import": f"{BINARY} import --target={server.address}",
        "build/release/energy-sites export": f"{BINARY} export --target={server.address}",
        "build/year": shlex.quote(str(tmp_path / "year")),
    }
    shown = [(page, one) for page in pages for one in markdown.examples(markdown.read(page))]
    assert len(shown) > 6
    assert {word for _, one in shown for word in SHOWN[pages] if word in one.command} == SHOWN[pages]
    for page, one in shown:
        done = run(one.command, places)
        where = f"{page}:{one.line}: {one.command}\n{done.stdout}{done.stderr}"
        assert done.returncode == exit_code(one.shown), where
        output = done.stdout if done.returncode == 0 else done.stdout + done.stderr
        assert markdown.normal(output) == markdown.normal(one.shown), where


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


def lines(rows):
    return ["| " + " | ".join(cells) + " |" for cells in rows]


def table(page, header):
    return markdown.table(markdown.read(page), header)


def test_the_api_table_is_the_contract(contract):
    assert lines(table("proto/README.md", API)) == lines(api_rows(contract))


def test_the_rules_table_is_the_contract(contract):
    assert lines(table("proto/README.md", RULES)) == lines(rule_rows(contract))


def test_the_flags_table_is_the_program():
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
    for flag, default, meaning in table("deploy/README.md", FLAGS):
        (name,) = markdown.codes(flag)
        listed[name.removeprefix("--")] = "".join(markdown.codes(default))
        assert meaning
    assert listed == flags


def test_the_errors_table_is_the_code():
    """Each reason that the sources give stands in the table, and no other one."""
    sources = [path.read_text() for path in
               (ROOT / "services/errors/errors.cc", ROOT / "storage/errors/errors.cc")]  # fmt: skip
    given = set(re.findall(r'"([A-Z]+_[A-Z_]+|CONFLICT)"', "".join(sources)))
    rows = table("proto/README.md", ERRORS)
    listed = {name for row in rows for name in markdown.codes(row[3]) if name.isupper()}
    # This one is the reason of a violation.
    assert listed == given - {"SITE_NOT_FOUND"}
    http = {"INVALID_ARGUMENT": "400", "FAILED_PRECONDITION": "400", "NOT_FOUND": "404",
            "ALREADY_EXISTS": "409", "ABORTED": "409", "RESOURCE_EXHAUSTED": "429",
            "UNAUTHENTICATED": "401", "PERMISSION_DENIED": "403",
            "UNAVAILABLE": "503", "DEADLINE_EXCEEDED": "504", "INTERNAL": "500"}  # fmt: skip
    assert {code: status for code, status, *_ in rows} == http


def test_the_metrics_table_is_the_program(server, stubs):
    def named():
        return set(re.findall(r"^# TYPE (energy_sites_\w+) ", scrape(server), re.MULTILINE))

    listed = {markdown.codes(metric)[0] for metric, _ in table("deploy/README.md", METRICS)}
    # A counter with labels is there once it has counted, and so is a step of maintenance.
    fail(stubs.sites.GetSite, sites_pb2.GetSiteRequest())
    wait_until(lambda: listed <= named(), 20, f"all of {sorted(listed)}")
    assert named() == listed


def test_the_parts_table_is_tests_run():
    parts = {p.name for p in (ROOT / "tests" / "parts").iterdir() if not p.suffix and p.is_file()}
    assert {markdown.codes(part)[0] for part, _ in table("tests/README.md", PARTS)} == parts


def test_the_speeds_are_those_of_the_benchmark():
    results = markdown.read("tests/bench/RESULTS.md")
    rows = lines(table("README.md", SPEED))
    assert len(rows) >= 10
    assert [row for row in rows if f"\n{row}" not in results] == []


def test_the_readme_is_short():
    assert len(markdown.read("README.md").splitlines()) <= README_LINES


@pytest.mark.parametrize("page", markdown.pages())
def test_links_and_anchors_resolve(page):
    wrong = []
    for link in markdown.links(markdown.read(page)):
        path, _, anchor = link.partition("#")
        target = (ROOT / page).parent / path if path else ROOT / page
        if not target.exists():
            wrong.append(link)
        elif anchor and anchor not in markdown.anchors(target.read_text(encoding="utf-8")):
            wrong.append(link)
    assert wrong == []


@pytest.mark.parametrize("page", markdown.pages())
def test_named_paths_exist(page):
    named = [path for path in markdown.codes(markdown.prose(markdown.read(page)))
             if re.match(r"(clients|deploy|proto|services|storage|tests|validation)/[\w/.-]*$", path)]  # fmt: skip
    assert [path for path in named if not (ROOT / path).exists()] == []
