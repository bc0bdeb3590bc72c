"""The table: which figures stand against each other, and how it is written."""

import dataclasses
import math
import statistics


@dataclasses.dataclass
class Row:
    """`ours` against the best of `theirs`, both names of measures."""

    key: str
    path: str
    against: str
    ours: str
    theirs: tuple
    goal: float
    unit: str
    # Which field of the figures is compared.
    ours_field: str = "rate"
    theirs_field: str = "rate"


INSERTS = tuple(f"pgbench insert {clients}" for clients in (16, 64, 256))
ROWS = [
    Row("create", "unary Create, 256 callers",
        "pgbench, one-row prepared INSERT, best of 16, 64, 256 clients",
        "create 256", INSERTS, 2.0, "calls/s"),
    Row("create-empty", "unary Create, 256 callers", "an empty unary rpc, 256 callers",
        "create 256", ("empty 256",), 0.5, "calls/s"),
    Row("create-one", "unary Create, 1 caller", "pgbench, one-row prepared INSERT, 1 client",
        "create 1", ("pgbench insert 1",), 0.45, "calls/s"),
    Row("create-p99", "unary Create, 1 caller: p50", "its p99",
        "create 1", ("create 1",), 0.5, "us", "p50_us", "p99_us"),
    Row("batch", "BatchCreate of 1,000, 4 callers", "psql \\copy",
        "batch", ("copy in",), 0.8, "rows/s"),
    Row("ingest", "IngestLiveData, 1 stream", "psql \\copy",
        "ingest", ("copy in",), 1.2, "rows/s"),
    Row("export", "ExportLiveData", "psql COPY TO STDOUT",
        "export", ("copy out",), 0.8, "rows/s"),
    Row("get", "GetLiveDataEntry, 256 callers", "an empty unary rpc, 256 callers",
        "get 256", ("empty get 256",), 0.6, "calls/s"),
    Row("list", "ListLiveDataEntries, page of 100, 64 callers",
        "the same SELECT by pgbench, best of 16, 64 clients",
        "list 64", ("pgbench page 16", "pgbench page 64"), 0.6, "calls/s"),
    Row("rest", "REST Create through Envoy, 64 connections (wrk)",
        "unary Create by gRPC, 64 callers", "rest 64", ("create 64",), 0.3, "calls/s"),
    Row("aggregate", "AggregateLiveData, a year of one-minute entries, by day in Europe/Berlin",
        "the same GROUP BY over the rows", "aggregate", ("group by",), 5, "calls/s"),
]  # fmt: skip


def rows_at(count, base, rows):
    """Each path of `rows` on a table of `count` rows against itself on one of `base`, with the
    measure that both are runs of."""
    # A path that stands in several rows is one; a path's share of itself has no size.
    paths = {row.ours: row for row in reversed(rows) if row.ours_field == "rate"}
    return [
        (Row(row.key, f"{row.path}, at {count:,} rows", f"itself at {base:,} rows",
             f"{measure}, {count:,} rows", (f"{measure}, {base:,} rows",), 0.85, row.unit), measure)
        for measure, row in reversed(paths.items())
    ]  # fmt: skip


@dataclasses.dataclass
class Outcome:
    """A line of the table. Every goal is a lower bound of `ratio`."""

    path: str
    against: str
    ours: float
    theirs: float
    ratio: float
    goal: float
    unit: str
    peak_mib: float = 0
    spread: float = 0  # How far the runs of `ours` lay apart, as a share of their median.
    problem: str = ""

    def json(self):
        names = ("path", "against", "ours", "theirs", "ratio", "goal", "unit")
        return {name: getattr(self, name) for name in names}


def at_most(path, value, limit, unit):
    """A limit: the ratio is what it is of the value."""
    return Outcome(path, "the limit", value, limit, limit / value, 1, unit)


def judge(row, figures, problems):
    """The Outcome of `row`; `figures` are lists of runs by measure."""
    missing = [name for name in (row.ours, *row.theirs) if name in problems]
    if missing:
        text = "; ".join(f"{name}: {problems[name]}" for name in missing)
        return Outcome(row.path, row.against, 0, 0, 0, row.goal, row.unit, problem=text)

    def median(name, field):
        return statistics.median(getattr(figure, field) for figure in figures[name])

    runs = [getattr(figure, row.ours_field) for figure in figures[row.ours]]
    ours = median(row.ours, row.ours_field)
    theirs = max(median(name, row.theirs_field) for name in row.theirs)
    return Outcome(
        row.path, row.against, ours, theirs, ours / theirs, row.goal, row.unit,
        peak_mib=max(figure.peak_mib for figure in figures[row.ours]),
        spread=(max(runs) - min(runs)) / ours,
    )  # fmt: skip


def number(value):
    """Four digits that matter: 41,230, 812.4, 0.031."""
    if value == 0:
        return "0"
    digits = max(0, 3 - math.floor(math.log10(abs(value))))
    return f"{value:,.{digits}f}" if value < 10_000 else f"{round(value, -1):,.0f}"


def markdown(outcomes):
    lines = [
        "| path | against | ours | theirs | unit | ratio | goal | met | spread | server's peak, MiB |",
        "|---|---|---:|---:|---|---:|---:|---|---:|---:|",
    ]
    for one in outcomes:
        if one.problem:
            lines.append(f"| {one.path} | {one.against} | - | - | {one.unit} | - | {one.goal} "
                         f"| **missing** | - | - |")  # fmt: skip
            continue
        lines.append(
            f"| {one.path} | {one.against} | {number(one.ours)} | {number(one.theirs)} | {one.unit} "
            f"| {one.ratio:.2f} | {one.goal} | {'yes' if one.ratio >= one.goal else '**no**'} "
            f"| {one.spread:.0%} | {f'{one.peak_mib:.0f}' if one.peak_mib else ''} |"
        )
    return "\n".join(lines)
