"""Measures the service against what a user would pick instead. Started by tests/bench/run."""

import argparse
import contextlib
import dataclasses
import json
import pathlib
import shutil
import signal
import statistics
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import machine
from measures import GROUPS, Failed, Scale, ingest
from stage import Stage, start_and_idle
from support.postgres import Postgres
from table import ROWS, Row, at_most, judge, markdown, number, rows_at

MILLION = 1_000_000
YEAR_MINUTES = 365 * 24 * 60
IDLE_MIB, BUSY_MIB, START_SECONDS = 60, 200, 0.5
# Memory counts as flat where that of a tenth of the rows is this much of that of all.
FLAT = 0.9
# More than callers and pgbench's clients at once.
CONNECTIONS = 400


def arguments_of(words):
    parser = argparse.ArgumentParser(
        prog="tests/bench/run", description=__doc__,
        epilog="Ends with 1 if a figure is missing. Goals that are missed do not count as failure. "
        "PATH is one of: " + " ".join(row.key for row in ROWS))  # fmt: skip
    parser.add_argument("--quick", action="store_true",
                        help="tiny: shows that the benchmark works; its figures mean nothing")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="the table as JSON")
    parser.add_argument("--results", type=pathlib.Path, metavar="FILE",
                        help="the table as Markdown, with the machine it came from")
    parser.add_argument("--only", nargs="+", metavar="PATH", choices=[row.key for row in ROWS],
                        help="these rows of the table, without start and idle memory")
    parser.add_argument("--repeat", type=int, default=5, metavar="N", help="runs of each figure")
    parser.add_argument("--seconds", type=int, default=4, help="length of each timed run")
    parser.add_argument("--bulk-rows", type=int, default=500_000, help="rows of each bulk run")
    parser.add_argument("--rows", type=int, metavar="N",
                        help="also each path at N rows against itself at 1 million")
    parser.add_argument("--long-ingest", type=int, metavar="N",
                        help="also the server's memory over one stream of N rows")
    parser.add_argument("--build-dir", help="measure what was built there; else the release is built")
    arguments = parser.parse_args(words)
    arguments.base_rows, arguments.year_minutes = MILLION, YEAR_MINUTES
    if arguments.quick:
        arguments.repeat, arguments.seconds, arguments.bulk_rows = 1, 1, 5000
        arguments.base_rows, arguments.year_minutes = 20_000, 7 * 24 * 60
    return arguments


def say(text):
    print(text, file=sys.stderr, flush=True)


class Bench:
    """Runs measures in turns, and keeps what came of them."""

    def __init__(self, scale, repeat):
        self.scale = scale
        self.repeat = repeat
        self.figures = {}
        self.problems = {}

    def take_turns(self, measures, repeat=None, scale=None):
        """`measures`: name -> (function, stage)."""
        for turn in range(repeat or self.repeat):
            # There and back: whoever comes first has no lasting advantage of it.
            for name in list(measures) if turn % 2 == 0 else reversed(measures):
                if name not in self.problems:
                    self._run(name, *measures[name], scale or self.scale)

    def _run(self, name, function, stage, scale):
        stage.tables.restore()
        try:
            figure = function(stage, scale)
        except Failed as error:
            self.problems[name] = str(error)
            say(f"{name}: {error}")
            return
        self.figures.setdefault(name, []).append(figure)
        text = f"{name}: {number(figure.rate)}/s"
        if figure.p99_us:
            text += f", p50 {number(figure.p50_us)} us, p99 {number(figure.p99_us)} us"
        if figure.peak_mib:
            text += f", server at most {figure.peak_mib:.0f} MiB"
        say(text)

    def judge(self, rows):
        return [judge(row, self.figures, self.problems) for row in rows]

    def most_memory(self):
        """An Outcome for the most memory of the server in any of the runs."""
        peaks = [(figure.peak_mib, name) for name, runs in self.figures.items() for figure in runs]
        most, name = max(peaks, default=(0, ""))
        return [at_most(f"the server's memory at its most ({name})", most, BUSY_MIB, "MiB")] if most else []


def picked(rows, arguments):
    return [row for row in rows if not arguments.only or row.key in arguments.only]


def compare(bench, cluster, folder, arguments):
    """The table, or the rows of it that are asked for."""
    rows = picked(ROWS, arguments)
    wanted = {name for row in rows for name in (row.ours, *row.theirs)}
    with Stage(cluster, folder, arguments.base_rows, arguments.year_minutes) as stage:
        for group in GROUPS:
            bench.take_turns({name: (function, stage) for name, function in group.items()
                              if name in wanted})  # fmt: skip
        outcomes = bench.judge(rows)
        if not arguments.only:
            starts, idles = zip(*(start_and_idle(stage.database, folder) for _ in range(bench.repeat)))
            outcomes += [
                at_most("the server's memory, idle", max(idles), IDLE_MIB, "MiB"),
                at_most("from start to healthy", statistics.median(starts), START_SECONDS, "s"),
            ]
    return outcomes


def compare_sizes(bench, cluster, folder, arguments):
    """Each path on many rows against itself on fewer."""
    functions = {name: function for group in GROUPS for name, function in group.items()}
    stages = []
    with contextlib.ExitStack() as stack:
        for rows in (arguments.base_rows, arguments.rows):
            say(f"making {rows:,} rows")
            subfolder = folder / f"{len(stages)}"
            subfolder.mkdir()
            stages.append(stack.enter_context(
                Stage(cluster, subfolder, rows, arguments.year_minutes, plain=False)))  # fmt: skip
        rows = rows_at(arguments.rows, arguments.base_rows, picked(ROWS, arguments))
        for row, measure in rows:
            names = (*row.theirs, row.ours)
            bench.take_turns({name: (functions[measure], stage)
                              for name, stage in zip(names, stages, strict=True)})  # fmt: skip
    return bench.judge([row for row, _ in rows])


def long_ingest(bench, cluster, folder, arguments):
    """One stream of many rows: the most memory of it all against that of its tenth."""
    rows = arguments.long_ingest
    with Stage(cluster, folder, arguments.base_rows, 60, plain=False) as stage:
        for name, count in (("tenth", rows // 10), ("whole", rows)):
            bench.take_turns({f"long ingest, {name}": (ingest, stage)}, repeat=1,
                             scale=dataclasses.replace(bench.scale, bulk_rows=count))  # fmt: skip
    return bench.judge([
        Row("long-ingest", f"IngestLiveData: the server's memory with {rows // 10:,} rows",
            f"that with {rows:,}", "long ingest, tenth", ("long ingest, whole",), FLAT, "MiB",
            "peak_mib", "peak_mib")])  # fmt: skip


def main():
    arguments = arguments_of(sys.argv[1:])
    # What was started must end with us.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    bench = Bench(Scale(0 if arguments.quick else 1, arguments.seconds, arguments.bulk_rows),
                  arguments.repeat)  # fmt: skip
    folder = pathlib.Path(tempfile.mkdtemp(prefix="es-bench-"))
    cluster = None
    try:
        # Hundreds of pgbench's connections would otherwise spend seconds on passwords.
        cluster = Postgres(durable=True, max_connections=CONNECTIONS, auth="trust")
        say(f"cluster: {cluster.dir}")
        description = machine.describe(cluster)
        outcomes = compare(bench, cluster, folder, arguments)
        if arguments.rows:
            outcomes += compare_sizes(bench, cluster, folder, arguments)
        if arguments.long_ingest:
            outcomes += long_ingest(bench, cluster, folder, arguments)
        outcomes += bench.most_memory()
    finally:
        if cluster is not None:
            cluster.remove()
        shutil.rmtree(folder, ignore_errors=True)

    table = markdown(outcomes)
    print(table)
    for outcome in outcomes:
        if outcome.problem:
            say(f"MISSING {outcome.path}: {outcome.problem}")
    if arguments.json:
        arguments.json.write_text(
            json.dumps([outcome.json() for outcome in outcomes], indent=2) + "\n", encoding="utf-8"
        )
    if arguments.results:
        arguments.results.write_text(machine.page(description, table, sys.argv[1:]), encoding="utf-8")
    return 1 if any(outcome.problem for outcome in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())
