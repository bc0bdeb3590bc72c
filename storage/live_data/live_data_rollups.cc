#include "storage/live_data/live_data_rollups.h"

#include "storage/live_data/live_data_fold.h"
#include "storage/postgres/portions.h"
#include "storage/postgres/query.h"

namespace energysites::storage {
namespace {

constexpr int64_t kMicrosecondsPerSecond = 1000000;

// Before the snapshot of the statement below: what one refolding adds, the next must see.
constexpr Statement kLockRollups = {"lock_rollups", R"sql(
  SELECT pg_advisory_xact_lock(hashtextextended('energy-sites:rollups', 0))
)sql"};

// One statement and so one snapshot: it takes away the marks that it sees, and folds the entries
// that it sees, which are those of these marks' transactions and of earlier ones.
// Sites are locked before their marks, as DeleteSite does it, and to the end, so that the foreign
// key holds for what is inserted; one that is being deleted needs no rollup any more.
// Goes on behind the bucket ($2, $3), so that writers cannot keep it from coming to the last one.
constexpr Statement kRefoldDirtyBuckets = {"refold_dirty_buckets", R"sql(
  WITH picked AS MATERIALIZED (
    SELECT site_id, bucket FROM live_data_dirty_buckets
    WHERE (site_id, bucket) > ($2, $3)
    GROUP BY site_id, bucket ORDER BY site_id, bucket LIMIT $1
  ), site AS MATERIALIZED (
    SELECT id FROM sites WHERE id IN (SELECT site_id FROM picked) AND delete_time IS NULL
    ORDER BY id FOR KEY SHARE
  ), settled AS (
    DELETE FROM live_data_dirty_buckets AS mark
    USING picked, (SELECT count(*) FROM site) AS locked
    WHERE mark.site_id = picked.site_id AND mark.bucket = picked.bucket
  ), fold AS MATERIALIZED (
    SELECT picked.site_id, picked.bucket, folded.*
    FROM picked
    JOIN site ON site.id = picked.site_id
    CROSS JOIN LATERAL (
      SELECT )sql" ENERGY_SITES_FOLD_OF_LIVE_DATA R"sql(
      FROM (SELECT soc, load_kwh, net_load_kwh,
                   pv_notification, bio_notification, cro_notification
            FROM live_data
            WHERE site_id = picked.site_id
              AND dt_stamp >= picked.bucket AND dt_stamp < picked.bucket + interval '15 minutes'
            ORDER BY dt_stamp, id) AS entry
    ) AS folded
    WHERE picked.bucket >= (SELECT kept_from FROM live_data_window)
  ), empty AS MATERIALIZED (
    SELECT site_id, bucket FROM fold WHERE entries = 0
  ), emptied AS (
    DELETE FROM live_data_rollups AS rollup USING empty
    WHERE rollup.site_id = empty.site_id AND rollup.bucket = empty.bucket
  ), filled AS (
    INSERT INTO live_data_rollups AS rollup
      (site_id, bucket, entries, soc_min, soc_max, soc_sum, soc_first, soc_last,
       load_kwh_min, load_kwh_max, load_kwh_sum, load_kwh_first, load_kwh_last,
       net_load_kwh_min, net_load_kwh_max, net_load_kwh_sum, net_load_kwh_first,
       net_load_kwh_last, pv_notifications, bio_notifications, cro_notifications)
    SELECT site_id, bucket, entries, soc_min, soc_max, soc_sum, soc_first, soc_last,
           load_kwh_min, load_kwh_max, load_kwh_sum, load_kwh_first, load_kwh_last,
           net_load_kwh_min, net_load_kwh_max, net_load_kwh_sum, net_load_kwh_first,
           net_load_kwh_last, pv_notifications, bio_notifications, cro_notifications
    FROM fold WHERE entries > 0
    ON CONFLICT (site_id, bucket) DO UPDATE SET
      (entries, soc_min, soc_max, soc_sum, soc_first, soc_last,
       load_kwh_min, load_kwh_max, load_kwh_sum, load_kwh_first, load_kwh_last,
       net_load_kwh_min, net_load_kwh_max, net_load_kwh_sum, net_load_kwh_first,
       net_load_kwh_last, pv_notifications, bio_notifications, cro_notifications) =
      (excluded.entries, excluded.soc_min, excluded.soc_max, excluded.soc_sum,
       excluded.soc_first, excluded.soc_last, excluded.load_kwh_min, excluded.load_kwh_max,
       excluded.load_kwh_sum, excluded.load_kwh_first, excluded.load_kwh_last,
       excluded.net_load_kwh_min, excluded.net_load_kwh_max, excluded.net_load_kwh_sum,
       excluded.net_load_kwh_first, excluded.net_load_kwh_last, excluded.pv_notifications,
       excluded.bio_notifications, excluded.cro_notifications)
  )
  SELECT site_id, bucket, count(*) OVER () AS settled
  FROM picked ORDER BY site_id DESC, bucket DESC LIMIT 1
)sql"};

constexpr Statement kCountDirtyBuckets = {"count_dirty_buckets", R"sql(
  SELECT count(*) AS dirty FROM (SELECT DISTINCT site_id, bucket FROM live_data_dirty_buckets) AS b
)sql"};

// The last bucket of a part.
struct Place {
  int64_t site_id = 0;
  Moment bucket = Moment::BeforeAll();
};

// Settles up to `limit` buckets behind `place`, and moves it on. Returns how many.
absl::StatusOr<int64_t> RefoldPart(Session& session, int64_t limit, Place& place) {
  return session.Transact([&](pqxx::work& tx) -> absl::StatusOr<int64_t> {
    Query(tx, kLockRollups);
    const Rows last = Query(tx, kRefoldDirtyBuckets, {limit, place.site_id, place.bucket});
    if (last.empty()) return 0;
    place = {last.Int64(0, 0), last.Stamp(0, 1)};
    return last.Int64(0, 2);
  });
}

}  // namespace

Statements LiveDataRollupStatements() {
  return {&kLockRollups, &kRefoldDirtyBuckets, &kCountDirtyBuckets};
}

int64_t BucketOf(int64_t microseconds) {
  const int64_t past = microseconds % kRollupMicroseconds;
  // Rounds down, before 1970 too.
  return microseconds - past - (past < 0 ? kRollupMicroseconds : 0);
}

int64_t BucketOf(const google::protobuf::Timestamp& stamp) {
  return BucketOf(stamp.seconds() * kMicrosecondsPerSecond);
}

absl::StatusOr<int64_t> RefoldDirtyBuckets(Session& session, int at_once) {
  Place place;
  return InPortions(at_once, [&](int limit) { return RefoldPart(session, limit, place); });
}

absl::StatusOr<int64_t> CountDirtyBuckets(Session& session) {
  return session.Transact([](pqxx::work& tx) -> absl::StatusOr<int64_t> {
    return Query(tx, kCountDirtyBuckets).Int64(0, 0);
  });
}

}  // namespace energysites::storage
