#include "storage/live_data/live_data_rollups.h"

#include "storage/live_data/rollup_columns.h"
#include "storage/postgres/portions.h"
#include "storage/postgres/query.h"

namespace energysites::storage {
namespace {

constexpr int64_t kMicrosecondsPerSecond = 1000000;

// In a statement before the one below, whose snapshot must have what an earlier run stored.
constexpr Statement kLockRollups = {"lock_rollups", R"sql(
  SELECT pg_advisory_xact_lock(hashtextextended('energy-sites:rollups', 0))
)sql"};

// One statement and so one snapshot: it deletes the invalidations that it sees, and computes the
// rollups from the entries that it sees, which are those of the same transactions and of earlier
// ones.
// Sites are locked before their invalidations, as DeleteSite does it, and to the end, so that the
// foreign key holds for what is inserted; one that is being deleted needs no rollup any more.
// Continues after the bucket ($2, $3), so that writers cannot keep it from reaching the last one.
const Statement kRecomputeStaleBuckets =
    ComposeStatement("recompute_stale_buckets", R"sql(
  WITH stale AS MATERIALIZED (
    SELECT site_id, bucket FROM live_data_dirty_buckets
    WHERE (site_id, bucket) > ($2, $3)
    GROUP BY site_id, bucket ORDER BY site_id, bucket LIMIT $1
  ), site AS MATERIALIZED (
    SELECT id FROM sites WHERE id IN (SELECT site_id FROM stale) AND delete_time IS NULL
    ORDER BY id FOR KEY SHARE
  ), validated AS (
    DELETE FROM live_data_dirty_buckets AS invalidation
    USING stale, (SELECT count(*) FROM site) AS locked
    WHERE invalidation.site_id = stale.site_id AND invalidation.bucket = stale.bucket
  ), computed AS MATERIALIZED (
    SELECT stale.site_id, stale.bucket, rollup.*
    FROM stale
    JOIN site ON site.id = stale.site_id
    CROSS JOIN LATERAL (
      SELECT {rollup_of_entries}
      FROM (SELECT {entry_columns}
            FROM live_data
            WHERE site_id = stale.site_id
              AND dt_stamp >= stale.bucket AND dt_stamp < stale.bucket + interval '15 minutes'
            ORDER BY dt_stamp, id) AS entry
    ) AS rollup
    WHERE stale.bucket >= (SELECT kept_from FROM live_data_window)
  ), empty AS MATERIALIZED (
    SELECT site_id, bucket FROM computed WHERE entries = 0
  ), deleted AS (
    DELETE FROM live_data_rollups AS rollup USING empty
    WHERE rollup.site_id = empty.site_id AND rollup.bucket = empty.bucket
  ), stored AS (
    INSERT INTO live_data_rollups AS rollup (site_id, bucket, {columns})
    SELECT site_id, bucket, {columns} FROM computed WHERE entries > 0
    ON CONFLICT (site_id, bucket) DO UPDATE SET ({columns}) = ({excluded_columns})
  )
  SELECT site_id, bucket, count(*) OVER () AS recomputed
  FROM stale ORDER BY site_id DESC, bucket DESC LIMIT 1
)sql",
                     {{"{columns}", RollupColumns()},
                      {"{excluded_columns}", RollupColumns("excluded.")},
                      {"{entry_columns}", RolledUpColumns()},
                      {"{rollup_of_entries}", RollupOfEntries()}});

constexpr Statement kCountStaleBuckets = {"count_stale_buckets", R"sql(
  SELECT count(*) FROM (SELECT DISTINCT site_id, bucket FROM live_data_dirty_buckets) AS stale
)sql"};

// The last bucket of a portion.
struct Position {
  int64_t site_id = 0;
  Moment bucket = Moment::BeforeAll();
};

// Recomputes up to `limit` buckets after `position`, and advances it. Returns how many.
absl::StatusOr<int64_t> RecomputePortion(Session& session, int64_t limit, Position& position) {
  return session.Transact([&](pqxx::work& tx) -> absl::StatusOr<int64_t> {
    Query(tx, kLockRollups);
    const Rows last = Query(tx, kRecomputeStaleBuckets, {limit, position.site_id, position.bucket});
    if (last.empty()) return 0;
    position = {last.Int64(0, 0), last.Stamp(0, 1)};
    return last.Int64(0, 2);
  });
}

}  // namespace

Statements LiveDataRollupStatements() {
  return {&kLockRollups, &kRecomputeStaleBuckets, &kCountStaleBuckets};
}

int64_t BucketOf(int64_t microseconds) {
  const int64_t past = microseconds % kRollupMicroseconds;
  // Rounds down, before 1970 too.
  return microseconds - past - (past < 0 ? kRollupMicroseconds : 0);
}

int64_t BucketOf(const google::protobuf::Timestamp& stamp) {
  return BucketOf(stamp.seconds() * kMicrosecondsPerSecond);
}

absl::StatusOr<int64_t> RecomputeStaleBuckets(Session& session, int at_once) {
  Position position;
  return InPortions(at_once, [&](int limit) { return RecomputePortion(session, limit, position); });
}

absl::StatusOr<int64_t> CountStaleBuckets(Session& session) {
  return session.Transact([](pqxx::work& tx) -> absl::StatusOr<int64_t> {
    return Query(tx, kCountStaleBuckets).Int64(0, 0);
  });
}

}  // namespace energysites::storage
