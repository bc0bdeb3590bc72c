"""The machine that figures come from."""

import datetime
import os
import pathlib
import platform
import re
import statistics
import subprocess
import time

import psycopg
from support.process import ROOT


def _first(pattern, file):
    found = re.search(pattern, pathlib.Path(file).read_text(encoding="utf-8"), re.MULTILINE)
    return found.group(1).strip() if found else "unknown"


def _output(*command):
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    return result.stdout.strip() or "unknown"


def _sync_microseconds(folder):
    """What it takes to get a page to the disk, as the end of each transaction does."""
    times = []
    file = os.open(os.path.join(folder, "sync-test"), os.O_CREAT | os.O_WRONLY)
    try:
        for _ in range(200):
            begin = time.perf_counter()
            os.pwrite(file, bytes(8192), 0)
            os.fdatasync(file)
            times.append(time.perf_counter() - begin)
    finally:
        os.close(file)
    return statistics.median(times) * 1e6


def _disk(folder):
    device = _output("findmnt", "--noheadings", "--output=SOURCE,FSTYPE", "--target", folder)
    name = pathlib.Path(device.split()[0]).name
    turns = pathlib.Path(f"/sys/block/{name}/queue/rotational")
    kind = {"0": "no moving parts", "1": "spinning"}.get(
        turns.read_text(encoding="ascii").strip() if turns.exists() else "", "kind unknown")  # fmt: skip
    return f"{device} ({kind}), write and fdatasync of 8 KiB: {_sync_microseconds(folder):.0f} us"


def _version(package):
    return _output("dpkg-query", "--showformat=${Version}", "--show", package)


def describe(cluster):
    """Pairs of what and which."""
    with psycopg.connect(cluster.url("postgres", "postgres")) as connection:
        settings = ", ".join(
            f"{name} {connection.execute(f'SHOW {name}').fetchone()[0]}"
            for name in ("fsync", "synchronous_commit", "full_page_writes", "shared_buffers")
        )
        postgresql = connection.execute("SHOW server_version").fetchone()[0]
    memory_gib = int(_first(r"^MemTotal: *([0-9]+)", "/proc/meminfo")) / 2**20
    return [
        ("date", datetime.date.today().isoformat()),
        ("commit", _output("git", "-C", str(ROOT), "rev-parse", "--short", "HEAD")),
        ("CPU", _first(r"^model name\s*: (.*)$", "/proc/cpuinfo")),
        ("cores, for everything", str(os.cpu_count())),
        ("memory", f"{memory_gib:.1f} GiB"),
        ("disk", _disk(cluster.dir)),
        ("kernel", platform.release()),
        ("PostgreSQL", f"{postgresql} ({settings})"),
        ("gRPC, protobuf", f"{_version('libgrpc++1.51')}, {_version('libprotobuf32')}"),
        ("g++", _output("g++", "-dumpfullversion")),
    ]


def page(description, table, words):
    """The whole of RESULTS.md."""
    machine = "\n".join(f"| {what} | {which} |" for what, which in description)
    command = " ".join(["tests/bench/run", *words])
    return f"""# Benchmark results

Written by `{command}`. The figures are medians of runs that took turns. A goal is a
lower bound of the ratio (for limits, of the limit divided by the value). `spread` is the difference
between our fastest and slowest run, as a share of the median.

{table}

| machine | |
|---|---|
{machine}
"""
