"""The benchmark works: every row comes out, and nothing is left behind. No promise about speed."""

import json
import os
import pathlib
import re
import signal
import subprocess
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ["ENERGY_SITES_BUILD_DIR"])
PATHS = [
    "unary Create, 256 callers",
    "unary Create, 256 callers",
    "unary Create, 1 caller",
    "unary Create, 1 caller: p50",
    "BatchCreate of 1,000, 4 callers",
    "IngestLiveData, 1 stream",
    "ExportLiveData",
    "GetLiveDataEntry, 256 callers",
    "ListLiveDataEntries, page of 100, 64 callers",
    "REST Create through Envoy, 64 connections (wrk)",
    "AggregateLiveData, a year of one-minute entries, by day in Europe/Berlin",
]
# Each path once more on a larger table.
SIZES = [f"{path}, at 40,000 rows" for path in PATHS[1:3] + PATHS[4:]]
OTHERS = [
    "the server's memory, idle",
    "from start to healthy",
    *SIZES,
    "IngestLiveData: the server's memory with 1,000 rows",
    "the server's memory at its most",
]
MARK = "ENERGY_SITES_BENCH_TEST"


class Run:
    """tests/bench/run --quick, with temporary files and processes that can be told from others."""

    def __init__(self, folder):
        self.folder = folder
        self.mark = f"{MARK}={folder}"
        self.temporary = folder / "temporary"
        self.temporary.mkdir()
        self.process = subprocess.Popen(
            [ROOT / "tests/bench/run", "--quick", "--build-dir", BUILD,
             "--rows", "40000", "--long-ingest", "10000",
             "--json", folder / "table.json", "--results", folder / "RESULTS.md"],
            env={**os.environ, MARK: str(folder), "TMPDIR": str(self.temporary)},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)  # fmt: skip

    def processes(self):
        """The programs that run because of it: they have its environment."""
        found = []
        for file in pathlib.Path("/proc").glob("[0-9]*/environ"):
            try:
                if self.mark.encode() in file.read_bytes().split(b"\0"):
                    found.append((file.parent / "cmdline").read_bytes().replace(b"\0", b" ").decode())
            except OSError:
                continue  # It has ended meanwhile.
        return found

    def left_behind(self, stderr):
        """Processes and folders. The cluster's lies elsewhere; the run says where."""
        cluster = pathlib.Path(re.search(r"^cluster: (.*)$", stderr, re.MULTILINE).group(1))
        return [*self.processes(), *self.temporary.iterdir(), *([cluster] if cluster.exists() else [])]


@pytest.fixture
def run(tmp_path):
    run = Run(tmp_path)
    yield run
    run.process.terminate()
    run.process.wait(timeout=60)


def test_a_quick_run_gives_every_row_and_leaves_nothing_behind(run):
    begin = time.monotonic()
    table, stderr = run.process.communicate(timeout=240)
    print(table, stderr)
    assert run.process.returncode == 0
    assert time.monotonic() - begin < 120

    outcomes = json.loads((run.folder / "table.json").read_text())
    assert [outcome["path"] for outcome in outcomes[: len(PATHS)]] == PATHS
    for outcome, name in zip(outcomes[len(PATHS) :], OTHERS, strict=True):
        assert outcome["path"].startswith(name)
    for outcome in outcomes:
        assert set(outcome) == {"path", "against", "ours", "theirs", "ratio", "goal", "unit"}
        assert min(outcome[key] for key in ("ours", "theirs", "ratio", "goal")) > 0, outcome
        assert f"| {outcome['path']} | {outcome['against']} |" in table
    results = (run.folder / "RESULTS.md").read_text()
    assert table.strip() in results
    assert "unknown" not in results.partition("| machine |")[2]

    assert not run.left_behind(stderr)


def test_a_run_that_is_stopped_leaves_nothing_behind(run):
    stderr = ""
    # A figure is there: everything has been started.
    while not re.search(r"^create 256: .*/s", stderr, re.MULTILINE):
        line = run.process.stderr.readline()
        assert line, stderr
        stderr += line
    # What looks for processes must be able to find some.
    assert any("bench_server" in command for command in run.processes())
    run.process.send_signal(signal.SIGTERM)
    stderr += run.process.communicate(timeout=60)[1]
    assert run.process.returncode == 143
    assert not run.left_behind(stderr)
