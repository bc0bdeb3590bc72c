#include "storage/live_data/live_data_summaries.h"

#include <algorithm>
#include <set>
#include <utility>

#include "google/protobuf/empty.pb.h"
#include "storage/live_data/live_data_rollups.h"
#include "storage/live_data/live_data_rows.h"
#include "storage/live_data/rollup_columns.h"
#include "storage/postgres/moment.h"
#include "storage/postgres/query.h"
#include "storage/sites/site_repository.h"

namespace energysites::storage {
namespace {

using v1::LiveDataBucket;

// For each site one step back from the end of its index, newest partition first.
const Statement kGetLatestLiveData = ComposeStatement("get_latest_live_data", R"sql(
  SELECT entry.*
  FROM unnest($1::bigint[]) WITH ORDINALITY AS asked (id, place)
  JOIN sites ON sites.id = asked.id AND sites.delete_time IS NULL
  CROSS JOIN LATERAL (
    SELECT {columns} FROM live_data WHERE site_id = asked.id
    ORDER BY dt_stamp DESC, id DESC LIMIT 1
  ) AS entry
  ORDER BY asked.place
)sql",
                                                      {{"{columns}", EntryColumns()}});

// $2 holds the begins of time ranges, and last the end of the last one; $3 says which of them have
// to be read from the entries. The others are read from rollups, but for the stale buckets in them,
// which are cut out: after a stale bucket the range goes on, unless another cut is there. Every
// part is a range of one index and has its first and last row there, so that only the cuts are
// sorted.
const Statement kAggregateLiveData = ComposeStatement("aggregate_live_data", R"sql(
  WITH stale AS MATERIALIZED (
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
      SELECT site.place, site.id, span.begin, span.from_entries, 2
      FROM site, unnest($2::timestamptz[], $3::boolean[]) AS span (begin, from_entries)
      UNION ALL
      SELECT site.place, site.id, stale.bucket, true, 1
      FROM stale JOIN site ON site.id = stale.site_id
      UNION ALL
      SELECT site.place, site.id, stale.bucket + interval '15 minutes', false, 3
      FROM stale JOIN site ON site.id = stale.site_id
    ) AS cuts (place, site_id, begin, from_entries, priority)
    ORDER BY place, begin, priority
  ), span AS (
    SELECT place, site_id, from_entries, begin,
           lead(begin) OVER (PARTITION BY place ORDER BY begin) AS until
    FROM cut
  )
  SELECT span.site_id, span.begin, rollup.*
  FROM span
  CROSS JOIN LATERAL (
    SELECT {columns}
    FROM (
      SELECT {rollup_of_rollups}
      FROM live_data_rollups
      WHERE NOT span.from_entries AND site_id = span.site_id
        AND bucket >= span.begin AND bucket < span.until
    ) AS total
    CROSS JOIN LATERAL (
      SELECT {first_columns} FROM live_data_rollups
      WHERE NOT span.from_entries AND site_id = span.site_id
        AND bucket >= span.begin AND bucket < span.until
      ORDER BY bucket LIMIT 1
    ) AS head
    CROSS JOIN LATERAL (
      SELECT {last_columns} FROM live_data_rollups
      WHERE NOT span.from_entries AND site_id = span.site_id
        AND bucket >= span.begin AND bucket < span.until
      ORDER BY bucket DESC LIMIT 1
    ) AS tail
    UNION ALL
    SELECT {rollup_of_entries}
    FROM (SELECT {entry_columns}
          FROM live_data
          WHERE span.from_entries AND site_id = span.site_id
            AND dt_stamp >= span.begin AND dt_stamp < span.until
          ORDER BY dt_stamp, id) AS entry
  ) AS rollup
  WHERE span.until IS NOT NULL AND rollup.entries > 0
  ORDER BY span.place, span.begin
)sql",
                                                      {{"{columns}", RollupColumns()},
                                                       {"{rollup_of_rollups}", RollupOfRollups()},
                                                       {"{first_columns}", FirstColumns()},
                                                       {"{last_columns}", LastColumns()},
                                                       {"{entry_columns}", RolledUpColumns()},
                                                       {"{rollup_of_entries}", RollupOfEntries()}});

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
struct Spans {
  Array<Moment> begins;
  Array<bool> from_entries;

  void Add(int64_t begin, bool read_entries) {
    begins.Add(Moment::FromUnixMicroseconds(begin));
    from_entries.Add(read_entries);
  }
};

// Splits each bucket into its whole quarters of an hour and what lies before and behind them.
Spans SpansOf(const std::vector<int64_t>& boundaries) {
  Spans spans;
  for (size_t i = 0; i + 1 < boundaries.size(); ++i) {
    const int64_t begin = boundaries[i], end = boundaries[i + 1];
    const int64_t first_whole = BucketOf(begin + kRollupMicroseconds - 1);
    const int64_t last_whole_end = BucketOf(end);
    if (first_whole >= last_whole_end) {
      spans.Add(begin, true);
      continue;
    }
    if (begin < first_whole) spans.Add(begin, true);
    spans.Add(first_whole, false);
    if (last_whole_end < end) spans.Add(last_whole_end, true);
  }
  spans.Add(boundaries.back(), true);
  return spans;
}

// What one row says of a part of a bucket.
LiveDataBucket PartFromRow(const Rows& rows, int row) {
  LiveDataBucket part;
  part.set_site_id(rows.Int64(row, 0));
  ReadRollup(rows, row, 2, part);
  return part;
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
    const auto end_of_part = std::upper_bound(boundaries.begin(), boundaries.end(),
                                              rows.Stamp(row, 1).UnixMicroseconds());
    if (bucket != nullptr && bucket->site_id() == part.site_id() && end == end_of_part) {
      MergeRollup(part, *bucket);
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
  return {&kGetLatestLiveData, &kAggregateLiveData};
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
        const absl::Status found = storage::CheckSites(tx, site_ids);
        if (!found.ok()) return found;
        return google::protobuf::Empty();
      })
      .status();
}

absl::StatusOr<v1::AggregateLiveDataResponse> LiveDataSummaryRepository::Aggregate(
    const v1::AggregateLiveDataRequest& request, const std::vector<int64_t>& boundaries) {
  using Response = v1::AggregateLiveDataResponse;
  const std::vector<int64_t> asked = Distinct(request.site_ids());
  return session_.Autocommit([&](pqxx::nontransaction& tx) -> absl::StatusOr<Response> {
    const absl::Status found = storage::CheckSites(tx, asked);
    if (!found.ok()) return found;
    if (boundaries.empty()) return Response();
    const Spans spans = SpansOf(boundaries);
    return ResponseFrom(
        Query(tx, kAggregateLiveData, {ArrayOf(asked), spans.begins, spans.from_entries}), request,
        boundaries);
  });
}

}  // namespace energysites::storage
