"""Measures the service against what a user would pick instead. Started by tests/bench/run."""

import argparse
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
from table import ROWS, Outcome, at_most, judge, markdown, number, rows_at

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
                        help="instead of the others: each path at N rows against 1 million")
    parser.add_argument("--long-ingest", type=int, metavar="N",
                        help="instead: the server's memory over one stream of N rows")
    parser.add_argument("--build-dir", help="measure what was built there; else the release is built")
    arguments = parser.parse_args(words)
    if arguments.quick:
        arguments.repeat, arguments.seconds, arguments.bulk_rows = 1, 1, 5000
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

    def take_turns(self, measures):
        """`measures`: name -> (function, stage)."""
        for turn in range(self.repeat):
            # There and back: whoever comes first has no lasting advantage of it.
            for name in list(measures) if turn % 2 == 0 else reversed(measures):
                if name not in self.problems:
                    self._run(name, *measures[name])

    def _run(self, name, function, stage):
        stage.tables.restore()
        try:
            figure = function(stage, self.scale)
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


def compare(bench, cluster, folder, rows, arguments):
    """The table, or the rows of it that are asked for."""
    wanted = {name for row in rows for name in (row.ours, *row.theirs)}
    base_rows, minutes = (20_000, 7 * 24 * 60) if arguments.quick else (MILLION, YEAR_MINUTES)
    with Stage(cluster, folder, base_rows, minutes) as stage:
        for group in GROUPS:
            bench.take_turns({name: (function, stage) for name, function in group.items()
                              if name in wanted})  # fmt: skip
        outcomes = bench.judge(rows) + bench.most_memory()
        if not arguments.only:
            starts, idles = zip(*(start_and_idle(stage.database, folder) for _ in range(bench.repeat)))
            outcomes += [
                at_most("the server's memory, idle", max(idles), IDLE_MIB, "MiB"),
                at_most("from start to healthy", statistics.median(starts), START_SECONDS, "s"),
            ]
    return outcomes


def compare_sizes(bench, cluster, folder, arguments):
    """Each path on many rows against itself on a million."""
    functions = {name: function for group in GROUPS for name, function in group.items()}
    rows = [row for row in rows_at(arguments.rows)
            if not arguments.only or row.key.removesuffix("-rows") in arguments.only]  # fmt: skip
    small_folder, large_folder = folder / "small", folder / "large"
    small_folder.mkdir()
    large_folder.mkdir()
    say(f"making {arguments.rows:,} rows")
    with (
        Stage(cluster, small_folder, MILLION, YEAR_MINUTES, plain=False) as small,
        Stage(cluster, large_folder, arguments.rows, YEAR_MINUTES, plain=False) as large,
    ):
        for row in rows:
            (at_million,) = row.theirs
            function = functions[at_million]
            bench.take_turns({at_million: (function, small), row.ours: (function, large)})
    return bench.judge(rows) + bench.most_memory()


def long_ingest(bench, cluster, folder, arguments):
    """One stream of many rows: the most memory of it all against that of its first tenth."""
    with Stage(cluster, folder, MILLION, 60, plain=False) as stage:
        for name, rows in (("first", arguments.long_ingest // 10), ("all", arguments.long_ingest)):
            bench.scale.bulk_rows = rows
            bench.take_turns({name: (ingest, stage)})
    if bench.problems:
        raise SystemExit("\n".join(bench.problems.values()))
    first, whole = (max(f.peak_mib for f in bench.figures[name]) for name in ("first", "all"))
    return [
        Outcome(f"IngestLiveData of {arguments.long_ingest:,} rows: the server's memory",
                "with a tenth of them", whole, first, first / whole, FLAT, "MiB"),
        *bench.most_memory(),
    ]  # fmt: skip


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
        if arguments.rows:
            outcomes = compare_sizes(bench, cluster, folder, arguments)
        elif arguments.long_ingest:
            outcomes = long_ingest(bench, cluster, folder, arguments)
        else:
            rows = [row for row in ROWS if not arguments.only or row.key in arguments.only]
            outcomes = compare(bench, cluster, folder, rows, arguments)
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
