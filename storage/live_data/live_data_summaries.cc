#include "storage/live_data/live_data_summaries.h"

#include <algorithm>
#include <set>
#include <utility>

#include "google/protobuf/empty.pb.h"
#include "storage/errors/errors.h"
#include "storage/live_data/live_data_fold.h"
#include "storage/live_data/live_data_rollups.h"
#include "storage/live_data/live_data_rows.h"
#include "storage/postgres/moment.h"
#include "storage/postgres/query.h"

namespace energysites::storage {
namespace {

using v1::FieldSummary;
using v1::LiveDataBucket;

// For each site one step back from the end of its index, newest partition first.
constexpr Statement kGetLatestLiveData = {"get_latest_live_data", R"sql(
  SELECT entry.*
  FROM unnest($1::bigint[]) WITH ORDINALITY AS asked (id, place)
  JOIN sites ON sites.id = asked.id AND sites.delete_time IS NULL
  CROSS JOIN LATERAL (
    SELECT id, site_id, dt_stamp, soc, load_kwh, net_load_kwh,
           pv_notification, bio_notification, cro_notification, create_time
    FROM live_data WHERE site_id = asked.id
    ORDER BY dt_stamp DESC, id DESC LIMIT 1
  ) AS entry
  ORDER BY asked.place
)sql"};

constexpr Statement kFindUnknownSite = {"find_unknown_site", R"sql(
  SELECT asked.id FROM unnest($1::bigint[]) WITH ORDINALITY AS asked (id, place)
  LEFT JOIN sites ON sites.id = asked.id AND sites.delete_time IS NULL
  WHERE sites.id IS NULL ORDER BY asked.place LIMIT 1
)sql"};

// $2 is where stretches of time begin, and last where they end; $3 tells which of them have to be
// read from the entries. The others consist of rollups, but for dirty ones, which are cut out of
// them: after a dirty bucket the stretch goes on, unless another cut is there. Every part is a
// range of one index and knows its first and last, so that nothing is sorted but the cuts.
constexpr Statement kAggregateLiveData = {"aggregate_live_data", R"sql(
  WITH dirty AS MATERIALIZED (
    SELECT DISTINCT site_id, bucket FROM live_data_dirty_buckets
    WHERE site_id = ANY($1::bigint[])
      AND bucket >= ($2::timestamptz[])[1]
      AND bucket < ($2::timestamptz[])[cardinality($2::timestamptz[])]
      AND bucket >= (SELECT kept_from FROM live_data_window)
      AND NOT ($3::boolean[])[width_bucket(bucket, $2::timestamptz[])]
  ), site AS (
    SELECT id, place FROM unnest($1::bigint[]) WITH ORDINALITY AS asked (id, place)
  ), cut AS (
    SELECT DISTINCT ON (place, begin) place, site_id, begin, from_entries
    FROM (
      SELECT site.place, site.id, stretch.begin, stretch.from_entries, 2
      FROM site, unnest($2::timestamptz[], $3::boolean[]) AS stretch (begin, from_entries)
      UNION ALL
      SELECT site.place, site.id, dirty.bucket, true, 1
      FROM dirty JOIN site ON site.id = dirty.site_id
      UNION ALL
      SELECT site.place, site.id, dirty.bucket + interval '15 minutes', false, 3
      FROM dirty JOIN site ON site.id = dirty.site_id
    ) AS cuts (place, site_id, begin, from_entries, priority)
    ORDER BY place, begin, priority
  ), stretch AS (
    SELECT place, site_id, from_entries, begin,
           lead(begin) OVER (PARTITION BY place ORDER BY begin) AS until
    FROM cut
  )
  SELECT stretch.site_id, (extract(epoch FROM stretch.begin) * 1000000)::bigint, folded.*
  FROM stretch
  CROSS JOIN LATERAL (
    SELECT entries, soc_min, soc_max, soc_sum, soc_first, soc_last,
           load_kwh_min, load_kwh_max, load_kwh_sum, load_kwh_first, load_kwh_last,
           net_load_kwh_min, net_load_kwh_max, net_load_kwh_sum,
           net_load_kwh_first, net_load_kwh_last,
           pv_notifications, bio_notifications, cro_notifications
    FROM (
      SELECT sum(entries)::bigint AS entries,
             min(soc_min) AS soc_min, max(soc_max) AS soc_max, sum(soc_sum) AS soc_sum,
             min(load_kwh_min) AS load_kwh_min, max(load_kwh_max) AS load_kwh_max,
             sum(load_kwh_sum) AS load_kwh_sum,
             min(net_load_kwh_min) AS net_load_kwh_min, max(net_load_kwh_max) AS net_load_kwh_max,
             sum(net_load_kwh_sum) AS net_load_kwh_sum,
             sum(pv_notifications)::bigint AS pv_notifications,
             sum(bio_notifications)::bigint AS bio_notifications,
             sum(cro_notifications)::bigint AS cro_notifications
      FROM live_data_rollups
      WHERE NOT stretch.from_entries AND site_id = stretch.site_id
        AND bucket >= stretch.begin AND bucket < stretch.until
    ) AS total
    CROSS JOIN LATERAL (
      SELECT soc_first, load_kwh_first, net_load_kwh_first FROM live_data_rollups
      WHERE NOT stretch.from_entries AND site_id = stretch.site_id
        AND bucket >= stretch.begin AND bucket < stretch.until
      ORDER BY bucket LIMIT 1
    ) AS head
    CROSS JOIN LATERAL (
      SELECT soc_last, load_kwh_last, net_load_kwh_last FROM live_data_rollups
      WHERE NOT stretch.from_entries AND site_id = stretch.site_id
        AND bucket >= stretch.begin AND bucket < stretch.until
      ORDER BY bucket DESC LIMIT 1
    ) AS tail
    UNION ALL
    SELECT )sql" ENERGY_SITES_FOLD_OF_LIVE_DATA R"sql(
    FROM (SELECT soc, load_kwh, net_load_kwh,
                 pv_notification, bio_notification, cro_notification
          FROM live_data
          WHERE stretch.from_entries AND site_id = stretch.site_id
            AND dt_stamp >= stretch.begin AND dt_stamp < stretch.until
          ORDER BY dt_stamp, id) AS entry
  ) AS folded
  WHERE stretch.until IS NOT NULL AND folded.entries > 0
  ORDER BY stretch.place, stretch.begin
)sql"};

// In the order of the request, each once.
template <class Ids>
std::vector<int64_t> Distinct(const Ids& ids) {
  std::set<int64_t> seen;
  std::vector<int64_t> distinct;
  for (const int64_t id : ids) {
    if (seen.insert(id).second) distinct.push_back(id);
  }
  return distinct;
}

Array<int64_t> ArrayOf(const std::vector<int64_t>& ids) {
  Array<int64_t> array;
  for (const int64_t id : ids) array.Add(id);
  return array;
}

// What kAggregateLiveData takes as $2 and $3.
struct Stretches {
  Array<Moment> begins;
  Array<bool> from_entries;

  void Add(int64_t begin, bool read_entries) {
    begins.Add(Moment::FromUnixMicroseconds(begin));
    from_entries.Add(read_entries);
  }
};

// Splits each bucket into its whole quarters of an hour and what lies before and behind them.
Stretches StretchesOf(const std::vector<int64_t>& boundaries) {
  Stretches stretches;
  for (size_t i = 0; i + 1 < boundaries.size(); ++i) {
    const int64_t begin = boundaries[i], end = boundaries[i + 1];
    const int64_t first_whole = BucketOf(begin + kRollupMicroseconds - 1);
    const int64_t last_whole_end = BucketOf(end);
    if (first_whole >= last_whole_end) {
      stretches.Add(begin, true);
      continue;
    }
    if (begin < first_whole) stretches.Add(begin, true);
    stretches.Add(first_whole, false);
    if (last_whole_end < end) stretches.Add(last_whole_end, true);
  }
  stretches.Add(boundaries.back(), true);
  return stretches;
}

FieldSummary SummaryFromRow(const Rows& rows, int row, int column) {
  FieldSummary summary;
  summary.set_min(rows.Double(row, column));
  summary.set_max(rows.Double(row, column + 1));
  summary.set_sum(rows.Double(row, column + 2));
  summary.set_first(rows.Double(row, column + 3));
  summary.set_last(rows.Double(row, column + 4));
  return summary;
}

// What one row says of a part of a bucket; averages come last.
LiveDataBucket PartFromRow(const Rows& rows, int row) {
  LiveDataBucket part;
  part.set_site_id(rows.Int64(row, 0));
  part.set_count(rows.Int64(row, 2));
  *part.mutable_soc() = SummaryFromRow(rows, row, 3);
  *part.mutable_load_kwh() = SummaryFromRow(rows, row, 8);
  *part.mutable_net_load_kwh() = SummaryFromRow(rows, row, 13);
  part.set_pv_notification_count(rows.Int64(row, 18));
  part.set_bio_notification_count(rows.Int64(row, 19));
  part.set_cro_notification_count(rows.Int64(row, 20));
  return part;
}

void Merge(const FieldSummary& later, FieldSummary& summary) {
  summary.set_min(std::min(summary.min(), later.min()));
  summary.set_max(std::max(summary.max(), later.max()));
  summary.set_sum(summary.sum() + later.sum());
  summary.set_last(later.last());
}

void Merge(const LiveDataBucket& later, LiveDataBucket& bucket) {
  bucket.set_count(bucket.count() + later.count());
  Merge(later.soc(), *bucket.mutable_soc());
  Merge(later.load_kwh(), *bucket.mutable_load_kwh());
  Merge(later.net_load_kwh(), *bucket.mutable_net_load_kwh());
  bucket.set_pv_notification_count(bucket.pv_notification_count() + later.pv_notification_count());
  bucket.set_bio_notification_count(bucket.bio_notification_count() +
                                    later.bio_notification_count());
  bucket.set_cro_notification_count(bucket.cro_notification_count() +
                                    later.cro_notification_count());
}

void SetAverages(LiveDataBucket& bucket) {
  for (FieldSummary* summary :
       {bucket.mutable_soc(), bucket.mutable_load_kwh(), bucket.mutable_net_load_kwh()}) {
    summary->set_avg(summary->sum() / static_cast<double>(bucket.count()));
  }
}

// Puts the parts of each bucket together. They come by site and time.
v1::AggregateLiveDataResponse ResponseFrom(const Rows& rows,
                                           const v1::AggregateLiveDataRequest& request,
                                           const std::vector<int64_t>& boundaries) {
  v1::AggregateLiveDataResponse response;
  LiveDataBucket* bucket = nullptr;
  auto end = boundaries.end();  // Of `bucket`.
  for (int row = 0; row < rows.size(); ++row) {
    LiveDataBucket part = PartFromRow(rows, row);
    const auto end_of_part =
        std::upper_bound(boundaries.begin(), boundaries.end(), rows.Int64(row, 1));
    if (bucket != nullptr && bucket->site_id() == part.site_id() && end == end_of_part) {
      Merge(part, *bucket);
      continue;
    }
    bucket = response.add_buckets();
    *bucket = std::move(part);
    end = end_of_part;
    const auto begin = end - 1;
    // The request's own bounds may be finer than a microsecond.
    *bucket->mutable_start_time() =
        begin == boundaries.begin() ? request.start_time() : TimestampFromMicroseconds(*begin);
    *bucket->mutable_end_time() =
        end + 1 == boundaries.end() ? request.end_time() : TimestampFromMicroseconds(*end);
  }
  for (LiveDataBucket& each : *response.mutable_buckets()) SetAverages(each);
  return response;
}

}  // namespace

Statements LiveDataSummaryRepository::AllStatements() {
  return {&kGetLatestLiveData, &kFindUnknownSite, &kAggregateLiveData};
}

absl::StatusOr<v1::GetLatestLiveDataResponse> LiveDataSummaryRepository::Latest(
    const v1::GetLatestLiveDataRequest& request) {
  using Response = v1::GetLatestLiveDataResponse;
  const std::vector<int64_t> asked = Distinct(request.site_ids());
  return session_.Autocommit([&](pqxx::nontransaction& tx) -> absl::StatusOr<Response> {
    const Rows rows = Query(tx, kGetLatestLiveData, {ArrayOf(asked)});
    Response response;
    int row = 0;
    for (const int64_t id : asked) {
      if (row < rows.size() && rows.Int64(row, 1) == id) {
        *response.add_live_data_entries() = EntryFromRow(rows, row++);
      } else {
        response.add_missing_site_ids(id);
      }
    }
    return response;
  });
}

absl::Status LiveDataSummaryRepository::CheckSites(const std::vector<int64_t>& site_ids) {
  return session_
      .Autocommit([&](pqxx::nontransaction& tx) -> absl::StatusOr<google::protobuf::Empty> {
        const Rows unknown = Query(tx, kFindUnknownSite, {ArrayOf(site_ids)});
        if (!unknown.empty()) return SiteNotFound(unknown.Int64(0, 0));
        return google::protobuf::Empty();
      })
      .status();
}

absl::StatusOr<v1::AggregateLiveDataResponse> LiveDataSummaryRepository::Aggregate(
    const v1::AggregateLiveDataRequest& request, const std::vector<int64_t>& boundaries) {
  using Response = v1::AggregateLiveDataResponse;
  const std::vector<int64_t> asked = Distinct(request.site_ids());
  return session_.Autocommit([&](pqxx::nontransaction& tx) -> absl::StatusOr<Response> {
    const Array<int64_t> ids = ArrayOf(asked);
    const Rows unknown = Query(tx, kFindUnknownSite, {ids});
    if (!unknown.empty()) return SiteNotFound(unknown.Int64(0, 0));
    if (boundaries.empty()) return Response();
    const Stretches stretches = StretchesOf(boundaries);
    return ResponseFrom(
        Query(tx, kAggregateLiveData, {ids, stretches.begins, stretches.from_entries}), request,
        boundaries);
  });
}

}  // namespace energysites::storage
