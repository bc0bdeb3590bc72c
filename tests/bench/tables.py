"""The rows that are measured on: live data of many sites, and a table beside it with the same keys.

`live_data` is the service's own. `plain_live_data` has its columns, keys, indexes, partitions and
foreign key, and nobody writes to it but the other side of the benchmark.
"""

import datetime

from psycopg import sql

OURS = "live_data"
THEIRS = "plain_live_data"
COLUMNS = (
    "id, site_id, dt_stamp, soc, load_kwh, net_load_kwh, "
    "pv_notification, bio_notification, cro_notification"
)
SITES = 1000
# One site more, whose year of entries is summed up.
YEAR_SITE = SITES + 1
# All sites report once a minute.
STEP = datetime.timedelta(minutes=1) / SITES
HISTORY_MONTHS = 24

# Rows %(first)s to %(last)s, row n reporting at %(start)s + n * %(step)s: values with the digits
# that meters have, as entries.h makes them. n is the low part of the id.
_ROWS = """
  SELECT (extract(year FROM dt_stamp)::bigint * 12 + extract(month FROM dt_stamp)::bigint - 13) << 46
           | n AS id,
         coalesce(%(site)s, 1 + floor(random() * %(sites)s)::bigint) AS site_id, dt_stamp,
         floor(random() * 1001) / 10 AS soc, floor(random() * 20000) / 10000 AS load_kwh,
         floor(random() * 20000) / 10000 AS net_load_kwh, random() < 0.5 AS pv_notification,
         false AS bio_notification, false AS cro_notification
  FROM (SELECT n, date_trunc('milliseconds', %(start)s + n * %(step)s::interval) AS dt_stamp
        FROM generate_series(%(first)s::bigint, %(last)s::bigint) AS n) AS moments
"""


def _rows(count, start, step, first=1, site=None):
    """Parameters of _ROWS."""
    return {
        "first": first, "last": first + count - 1, "start": start - first * step, "step": step,
        "site": site, "sites": SITES,
    }  # fmt: skip


def month_begin(moment, months=0):
    """The beginning of the month that is `months` after that of `moment`."""
    number = moment.year * 12 + moment.month - 1 + months
    return datetime.datetime(number // 12, number % 12 + 1, 1, tzinfo=datetime.timezone.utc)


class Tables:
    """Fills a migrated database and brings it back to what it was before each run of writes."""

    def __init__(self, database, rows, year_minutes, plain=True):
        """`rows` entries over two years, and `year_minutes` of one site more that end before the
        months that benchmarks write to. `plain` makes and fills the other table too."""
        self.connection = database.connect()
        self.now = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)
        self.recent_from = month_begin(self.now, -1)
        self.start = month_begin(self.now, 1 - HISTORY_MONTHS)
        self.year = (self.recent_from - datetime.timedelta(minutes=year_minutes), self.recent_from)
        self.tables = [OURS, THEIRS] if plain else [OURS]
        self.row_count = rows + year_minutes  # All of them report from `start` to before `now`.
        self._next_number = rows + year_minutes + 1
        self._written = set()
        # The rows refer to sites that are there: looking each one up would take half of the time.
        self._run("SET session_replication_role = replica")
        self._fill(rows, year_minutes)
        if plain:
            self._make_plain()
        self._run(f"CREATE UNLOGGED TABLE recent_rows AS SELECT * FROM {OURS} WHERE dt_stamp >= "
                  + f"'{self.recent_from.isoformat()}'")  # fmt: skip
        for table in (*self.tables, "sites"):
            self._run(f"VACUUM (ANALYZE) {table}")
        self._run("CHECKPOINT")

    def _run(self, statement, parameters=None):
        return self.connection.execute(statement, parameters)

    def _fill(self, rows, year_minutes):
        self._run("INSERT INTO sites (name, location) SELECT 'Farm ' || n, 'Brno' "
                  "FROM generate_series(1, %s) AS n", [YEAR_SITE])  # fmt: skip
        for month in range(1 - HISTORY_MONTHS, 2):
            self._run("SELECT make_live_data_month(%s)", [month_begin(self.now, month)])
        insert = f"INSERT INTO {OURS} ({COLUMNS}) {_ROWS}"
        self._run(insert, _rows(rows, self.start, (self.now - self.start) / rows))
        self._run(insert, _rows(year_minutes, self.year[0], datetime.timedelta(minutes=1),
                                first=rows + 1, site=YEAR_SITE))  # fmt: skip
        self._run("SELECT setval('live_data_numbers', %s)", [1 + 1000 * (self.row_count // 1000 + 1)])
        # As the service does with each write; what maintenance makes the rollups from.
        self._run("INSERT INTO live_data_dirty_buckets SELECT DISTINCT site_id, "
                  "date_bin('15 minutes', dt_stamp, 'epoch') "
                  f"FROM {OURS} WHERE site_id = %s", [YEAR_SITE])  # fmt: skip

    def _make_plain(self):
        self._run(f"CREATE TABLE {THEIRS} (LIKE {OURS} INCLUDING ALL) PARTITION BY RANGE (dt_stamp)")
        self._run(f"ALTER TABLE {THEIRS} ADD FOREIGN KEY (site_id) REFERENCES sites ON DELETE CASCADE")
        for name, bounds in self._run(
            "SELECT relname, pg_get_expr(relpartbound, oid) FROM pg_class JOIN pg_inherits "
            "ON oid = inhrelid WHERE inhparent = %s::regclass", [OURS]).fetchall():  # fmt: skip
            self._run(f"CREATE TABLE plain_{name} PARTITION OF {THEIRS} {bounds}")
        self._run(f"GRANT SELECT, INSERT ON {THEIRS} TO PUBLIC")
        self._run(f"INSERT INTO {THEIRS} SELECT * FROM {OURS}")

    def restore(self):
        """Takes away what was written since the last call; equal conditions for the next run."""
        for table in self._written:
            # What was written reports now or in the hours before.
            for (partition,) in self._run(
                "SELECT inhrelid::regclass::text FROM pg_inherits JOIN pg_class ON oid = inhrelid "
                "WHERE inhparent = %s::regclass AND relname ~ '_[0-9]{4}_[0-9]{2}$' "
                "AND right(relname, 7) >= %s",
                [table, self.recent_from.strftime("%Y_%m")]).fetchall():  # fmt: skip
                self._run(f"TRUNCATE {partition}")
            self._run(f"INSERT INTO {table} SELECT * FROM recent_rows")
            self._run(f"VACUUM (ANALYZE) {table}")
        if OURS in self._written:
            self._run("TRUNCATE live_data_dirty_buckets, ingest_sessions, ingest_refusals")
        if self._written:
            self._run("CHECKPOINT")
        self._written.clear()

    def will_write(self, table):
        self._written.add(table)

    def bulk_start(self, rows):
        """When the first of `rows` rows reports of which the last one reports now."""
        return self.now - rows * STEP

    def sample_keys(self, count, file):
        """Writes lines `site_id id` of entries drawn at random."""
        with open(file, "w", encoding="ascii") as lines:
            for site_id, key in self._run(
                f"SELECT site_id, id FROM {OURS} WHERE site_id <= %s AND random() < %s",
                [SITES, min(1, count / self.row_count)]):  # fmt: skip
                lines.write(f"{site_id} {key}\n")

    def write_copy_file(self, rows, file):
        """Rows for psql's \\copy: what the service gets from its callers, and ids."""
        parameters = _rows(rows, self.bulk_start(rows), STEP, first=self._next_number)
        # COPY takes no parameters.
        query = sql.SQL(f"COPY ({_ROWS}) TO STDOUT".replace("%(", "{").replace(")s", "}")).format(
            **{name: sql.Literal(value) for name, value in parameters.items()}
        )
        with open(file, "wb") as lines, self.connection.cursor().copy(query) as copy:
            for data in copy:
                lines.write(data)
