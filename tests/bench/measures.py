"""What is measured, one run at a time. Each function takes the stage and a scale."""

import dataclasses
import functools
import json
import re
import statistics
import subprocess
import time

from support.postgres import BIN

from stage import LOAD
from tables import COLUMNS, OURS, SITES, THEIRS, YEAR_SITE

# Beyond what a run is to take.
SPARE_SECONDS = 120
ID_BITS = 46


class Failed(Exception):
    """A run that gave no figure, and why."""


@dataclasses.dataclass
class Figure:
    """What one run came to."""

    rate: float  # Calls or rows a second.
    p50_us: float = 0
    p99_us: float = 0
    peak_mib: float = 0  # The server's memory, where the server was measured.


@dataclasses.dataclass
class Scale:
    """How long and how large the runs are."""

    warm_up: int  # Seconds before those that count.
    seconds: int
    bulk_rows: int  # In one run of batches, of an ingest stream or of COPY.


def _run(command, seconds, **arguments):
    try:
        result = subprocess.run(
            [str(word) for word in command], stdin=subprocess.DEVNULL, text=True, check=False,
            timeout=seconds + SPARE_SECONDS,
            **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **arguments},
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise Failed(f"{command[0]} did not end within {error.timeout:.0f} s") from None
    if result.returncode != 0:
        raise Failed(f"{command[0]} ended with {result.returncode}: {(result.stderr or result.stdout).strip()[-500:]}")
    return result.stdout


# --- The service ---


def _load(stage, mode, seconds=0, **flags):
    """One run of the load client, and the server's memory meanwhile."""
    stage.server.forget_peak()
    words = [f"--{name}={value}" for name, value in flags.items()]
    answer = json.loads(
        _run([LOAD, f"--target={stage.server.address}", f"--mode={mode}", f"--sites={SITES}",
              *words], seconds))  # fmt: skip
    if answer["errors"] or not answer["done"]:
        raise Failed(answer["first_error"] or "nothing was done")
    return answer, Figure(
        answer["rate"], answer["p50_us"], answer["p99_us"], stage.server.process.peak_mib()
    )


def calls(mode, callers, stage, scale):
    """Unary calls of one kind."""
    flags = {"callers": callers, "warm_up": f"{scale.warm_up}s", "duration": f"{scale.seconds}s"}
    if callers > 1:
        flags["threads"] = 2
    if mode == "create":
        stage.tables.will_write(OURS)
    if mode in ("get", "empty get"):
        flags["keys"] = stage.folder / "keys"
        if not flags["keys"].exists():
            stage.tables.sample_keys(50_000, flags["keys"])
    if mode == "aggregate":
        if stage.maintained:
            raise Failed(f"energy-sites maintain: {stage.maintained}")
        begin, end = stage.tables.year
        flags |= {"site": YEAR_SITE, "start": begin.isoformat(), "end": end.isoformat()}
    return _load(stage, mode.split()[0], scale.warm_up + scale.seconds, **flags)[1]


def batches(stage, scale):
    stage.tables.will_write(OURS)
    return _load(stage, "batch", callers=4, rows=scale.bulk_rows, rows_per_batch=1000,
                 start=_bulk_start(stage, scale))[1]  # fmt: skip


def ingest(stage, scale):
    stage.tables.will_write(OURS)
    return _load(stage, "ingest", rows=scale.bulk_rows, rows_per_batch=5000,
                 session=f"bench-{time.monotonic_ns()}", start=_bulk_start(stage, scale))[1]  # fmt: skip


def export(stage, scale):
    answer, figure = _load(stage, "export", start=stage.tables.start.isoformat(),
                           end=stage.tables.now.isoformat())  # fmt: skip
    if answer["done"] != (expected := stage.tables.row_count):
        raise Failed(f"{answer['done']} rows came of {expected}")
    return figure


def rest_creates(stage, scale):
    """wrk through Envoy."""
    stage.tables.will_write(OURS)
    url = stage.envoy().url
    script = stage.folder / "create.lua"
    script.write_text(_LUA, encoding="ascii")
    for seconds in filter(None, (scale.warm_up, scale.seconds)):
        stage.server.forget_peak()
        text = _run(["wrk", "--threads", 1, "--connections", 64, "--duration", seconds,
                     "--script", script, url], seconds)  # fmt: skip
    answer = json.loads(text.splitlines()[-1])
    if answer["errors"] or not answer["requests"]:
        raise Failed(f"{answer['errors']} of {answer['requests']} requests failed")
    return Figure(answer["requests"] / answer["seconds"], peak_mib=stage.server.process.peak_mib())


def _bulk_start(stage, scale):
    return stage.tables.bulk_start(scale.bulk_rows).isoformat()


_LUA = f"""
math.randomseed(os.time())
local headers = {{["Content-Type"] = "application/json"}}
request = function()
  return wrk.format("POST", "/v1/liveData", headers, string.format(
    '{{"site_id":%d,"dt_stamp":"%s","soc":%.1f,"load_kwh":%.4f,"net_load_kwh":%.4f,' ..
    '"pv_notification":true,"bio_notification":false,"cro_notification":false}}',
    math.random({SITES}), os.date("!%Y-%m-%dT%H:%M:%SZ"), math.random(0, 1000) / 10,
    math.random(0, 20000) / 10000, math.random(0, 20000) / 10000))
end
done = function(summary)
  local e = summary.errors
  print(string.format('{{"requests": %d, "seconds": %f, "errors": %d}}', summary.requests,
    summary.duration / 1e6, e.connect + e.read + e.write + e.status + e.timeout))
end
"""


# --- What a user would pick instead ---


def _pgbench(stage, scale, clients, script, settings="", **variables):
    """Transactions a second of a script of one prepared statement, in sessions of these settings."""
    file = stage.folder / "pgbench.sql"
    file.write_text(script, encoding="ascii")
    # pgbench counts the time of connecting, too.
    connecting = 1
    seconds = connecting + scale.warm_up + scale.seconds
    command = [
        f"{BIN}/pgbench", "--no-vacuum", "--protocol=prepared", f"--file={file}",
        f"--client={clients}", f"--jobs={min(clients, 2)}", f"--time={seconds}", "--progress=1",
        *(f"--define={name}={value}" for name, value in variables.items()),
    ]  # fmt: skip
    environment = {**stage.postgres_environment(), "PGOPTIONS": settings}
    output = _run(command, seconds, env=environment, stderr=subprocess.STDOUT)
    total = re.search(r"^tps = ([0-9.]+)", output, re.MULTILINE)
    failed = re.search(r"number of failed transactions: (\d+)", output)
    if not total or (failed and failed.group(1) != "0"):
        raise Failed(f"pgbench: {output[-500:]}")
    # The total counts from the first transaction on; what is measured here has warmed up.
    ticks = [float(tps) for tps in re.findall(r"^progress: .* s, ([0-9.]+) tps", output, re.MULTILINE)]
    counted = ticks[connecting + scale.warm_up :]
    warm = scale.warm_up and counted
    rate = statistics.mean(counted) if warm else float(total.group(1))
    if not rate:
        raise Failed(f"pgbench with {clients} clients came to no transaction")
    return Figure(rate)


def pgbench_inserts(clients, stage, scale):
    """The row that CreateLiveDataEntry stores, its id given."""
    stage.tables.will_write(THEIRS)
    now = stage.tables.now
    month = now.year * 12 + now.month - 13
    return _pgbench(stage, scale, clients, f"""
\\set n :n + 1
\\set id :first + :client_id * 1000000000 + :n
\\set site random(1, {SITES})
\\set soc random(0, 1000) / 10.0
\\set load random(0, 20000) / 10000.0
\\set net random(0, 20000) / 10000.0
INSERT INTO {THEIRS} ({COLUMNS}) VALUES (:id, :site, now(), :soc, :load, :net, true, false, false);
""", n=0, first=(month << ID_BITS) + (1 << 44))  # fmt: skip


def pgbench_pages(clients, stage, scale):
    """The page that ListLiveDataEntries gives, from the same table, in sessions set as ours are."""
    return _pgbench(stage, scale, clients, f"""
\\set site random(1, {SITES})
SELECT {COLUMNS}, create_time FROM {OURS} WHERE site_id = :site
ORDER BY dt_stamp DESC, id DESC LIMIT 100;
""", settings="-c plan_cache_mode=force_generic_plan -c enable_seqscan=off")  # fmt: skip


def pgbench_days(stage, scale):
    """What AggregateLiveData answers, but for the first and the last value of each day."""
    begin, end = stage.tables.year
    sums = ", ".join(f"min({column}), avg({column}), max({column}), sum({column})"
                     for column in ("soc", "load_kwh", "net_load_kwh"))  # fmt: skip
    counts = ", ".join(f"count(*) FILTER (WHERE {kind}_notification)" for kind in ("pv", "bio", "cro"))
    return _pgbench(stage, scale, 1, f"""
SELECT date_trunc('day', dt_stamp, 'Europe/Berlin'), count(*), {sums}, {counts}
FROM {OURS} WHERE site_id = {YEAR_SITE}
  AND dt_stamp >= '{begin.isoformat()}' AND dt_stamp < '{end.isoformat()}'
GROUP BY 1 ORDER BY 1;
""")  # fmt: skip


def _psql(stage, rows, command, **arguments):
    begin = time.monotonic()
    # psql's own settings are the user's.
    _run([f"{BIN}/psql", "--no-psqlrc", "--set=ON_ERROR_STOP=1", f"--command={command}"], 600,
         env=stage.postgres_environment(), **arguments)  # fmt: skip
    return Figure(rows / (time.monotonic() - begin))


def copy_in(stage, scale):
    stage.tables.will_write(THEIRS)
    file = stage.folder / "rows.tsv"
    if not file.exists():
        stage.tables.write_copy_file(scale.bulk_rows, file)
    return _psql(stage, scale.bulk_rows, f"\\copy {THEIRS} ({COLUMNS}) FROM '{file}'")


def copy_out(stage, scale):
    """The rows and columns that ExportLiveData gives, from the same table."""
    begin, end = stage.tables.start.isoformat(), stage.tables.now.isoformat()
    return _psql(stage, stage.tables.row_count, f"COPY (SELECT {COLUMNS}, create_time FROM {OURS} "
                 f"WHERE dt_stamp >= '{begin}' AND dt_stamp < '{end}') TO STDOUT",
                 stdout=subprocess.DEVNULL)  # fmt: skip


def _of(function, *arguments):
    return functools.partial(function, *arguments)


# Those of one group take turns, so that both sides of a row see the same minutes.
GROUPS = [
    {
        "create 256": _of(calls, "create", 256),
        "pgbench insert 16": _of(pgbench_inserts, 16),
        "pgbench insert 64": _of(pgbench_inserts, 64),
        "pgbench insert 256": _of(pgbench_inserts, 256),
        "empty 256": _of(calls, "empty", 256),
    },
    {"create 1": _of(calls, "create", 1), "pgbench insert 1": _of(pgbench_inserts, 1)},
    {"batch": batches, "copy in": copy_in, "ingest": ingest},
    {"export": export, "copy out": copy_out},
    {"get 256": _of(calls, "get", 256), "empty get 256": _of(calls, "empty get", 256)},
    {
        "list 64": _of(calls, "list", 64),
        "pgbench page 16": _of(pgbench_pages, 16),
        "pgbench page 64": _of(pgbench_pages, 64),
    },
    {"rest 64": rest_creates, "create 64": _of(calls, "create", 64)},
    {"aggregate": _of(calls, "aggregate", 1), "group by": pgbench_days},
]
