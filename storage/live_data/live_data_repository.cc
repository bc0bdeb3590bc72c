#include "storage/live_data/live_data_repository.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "storage/errors/errors.h"
#include "storage/live_data/live_data_id.h"
#include "storage/live_data/live_data_rows.h"
#include "storage/postgres/query.h"
#include "storage/sites/site_repository.h"

namespace energysites::storage {
namespace {

using google::protobuf::Empty;
using v1::LiveDataEntry;

// The years 1 to 9999.
constexpr int64_t kFirstMicrosecond = -62135596800'000000;
constexpr int64_t kLastMicrosecond = 253402300799'999999;

// `{columns}` are those that EntryFromRow reads, and `{max_rows}` is the limit of the largest page.
Statement Compose(const char* name, absl::string_view sql) {
  return ComposeStatement(
      name, sql, {{"{columns}", EntryColumns()}, {"{max_rows}", absl::StrCat(kMaxPageSize + 1)}});
}

// Two bounds for each id name its month, and so the partition. A place is an entry's index in the
// parameters, from 1 on. A join of sites would change the plan to one that reads all entries of a
// site.
const Statement kGetLiveDataEntries = Compose("get_live_data_entries", R"sql(
  SELECT {columns}, wanted.place
  FROM unnest($1::bigint[], $2::bigint[], $3::timestamptz[], $4::timestamptz[]) WITH ORDINALITY
    AS wanted (wanted_site_id, wanted_id, begin_time, end_time, place)
  JOIN live_data ON site_id = wanted_site_id AND id = wanted_id
    AND dt_stamp >= begin_time AND dt_stamp < end_time
  WHERE wanted_site_id <> ALL(ARRAY(SELECT sites.id FROM sites WHERE delete_time IS NOT NULL))
)sql");

// The origin of date_bin is before all entries, because it is wrong for some times before its
// origin.
constexpr Statement kDeleteLiveDataEntry = {"delete_live_data_entry", R"sql(
  WITH deleted AS (
    DELETE FROM live_data
    WHERE site_id = $1 AND id = $2 AND dt_stamp >= $3 AND dt_stamp < $4
      AND EXISTS (SELECT FROM sites WHERE id = $1 AND delete_time IS NULL)
    RETURNING id, site_id, dt_stamp
  ), invalidation AS (
    INSERT INTO live_data_dirty_buckets (site_id, bucket)
    SELECT site_id, date_bin('15 minutes', dt_stamp, '0001-01-01T00:00:00Z') FROM deleted
  )
  SELECT id FROM deleted
)sql"};

// Lists: rows after ($1, $2) up to the other end $3 of the range. The row comparison finds the
// first row in the index, the comparison of dt_stamp alone prunes partitions. The plan is made
// without $4, as if for a tenth of the table, which would then be sorted; with the constant limit,
// that of the largest page, it scans an index.
const Statement kListOldestFirst = Compose("list_live_data_oldest_first", R"sql(
  SELECT * FROM (
    SELECT {columns} FROM live_data
    WHERE dt_stamp >= $1 AND (dt_stamp, id) > ($1, $2) AND dt_stamp < $3
      AND site_id <> ALL(ARRAY(SELECT sites.id FROM sites WHERE delete_time IS NOT NULL))
    ORDER BY dt_stamp, id LIMIT {max_rows}
  ) AS page LIMIT $4
)sql");

const Statement kListNewestFirst = Compose("list_live_data_newest_first", R"sql(
  SELECT * FROM (
    SELECT {columns} FROM live_data
    WHERE dt_stamp <= $1 AND (dt_stamp, id) < ($1, $2) AND dt_stamp >= $3
      AND site_id <> ALL(ARRAY(SELECT sites.id FROM sites WHERE delete_time IS NOT NULL))
    ORDER BY dt_stamp DESC, id DESC LIMIT {max_rows}
  ) AS page LIMIT $4
)sql");

const Statement kListOfSiteOldestFirst = Compose("list_live_data_of_site_oldest_first", R"sql(
  SELECT * FROM (
    SELECT {columns} FROM live_data
    WHERE site_id = $5 AND EXISTS (SELECT FROM sites WHERE id = $5 AND delete_time IS NULL)
      AND dt_stamp >= $1 AND (dt_stamp, id) > ($1, $2) AND dt_stamp < $3
    ORDER BY dt_stamp, id LIMIT {max_rows}
  ) AS page LIMIT $4
)sql");

const Statement kListOfSiteNewestFirst = Compose("list_live_data_of_site_newest_first", R"sql(
  SELECT * FROM (
    SELECT {columns} FROM live_data
    WHERE site_id = $5 AND EXISTS (SELECT FROM sites WHERE id = $5 AND delete_time IS NULL)
      AND dt_stamp <= $1 AND (dt_stamp, id) < ($1, $2) AND dt_stamp >= $3
    ORDER BY dt_stamp DESC, id DESC LIMIT {max_rows}
  ) AS page LIMIT $4
)sql");

}  // namespace

Statements LiveDataRepository::AllStatements() {
  return {&kGetLiveDataEntries, &kDeleteLiveDataEntry,   &kListOldestFirst,
          &kListNewestFirst,    &kListOfSiteOldestFirst, &kListOfSiteNewestFirst};
}

std::vector<absl::StatusOr<LiveDataEntry>> LiveDataRepository::GetMany(
    const std::vector<LiveDataKey>& keys) {
  using Results = std::vector<absl::StatusOr<LiveDataEntry>>;
  Array<int64_t> site_ids, ids;
  Array<Moment> begins, ends;
  for (const LiveDataKey& key : keys) {
    // An empty month where no entry can have the id.
    const MonthRange month = MonthOfId(key.id).value_or(MonthRange());
    site_ids.Add(key.site_id);
    ids.Add(key.id);
    begins.Add(month.begin);
    ends.Add(month.end);
  }
  Parameters parameters = {site_ids, ids, begins, ends};
  absl::StatusOr<Results> results =
      session_.Autocommit([&](pqxx::nontransaction& tx) -> absl::StatusOr<Results> {
        Results found(keys.size());
        std::vector<bool> is_found(keys.size(), false);
        const Rows rows = Query(tx, kGetLiveDataEntries, parameters);
        for (int row = 0; row < rows.size(); ++row) {
          const size_t i = rows.Int64(row, kEntryColumns) - 1;
          found[i] = EntryFromRow(rows, row);
          is_found[i] = true;
        }
        for (size_t i = 0; i < keys.size(); ++i) {
          if (!is_found[i]) found[i] = LiveDataEntryNotFound(keys[i].site_id, keys[i].id);
        }
        return found;
      });
  return results.ok() ? *std::move(results) : Results(keys.size(), results.status());
}

absl::StatusOr<std::vector<LiveDataEntry>> LiveDataRepository::List(
    const v1::ListLiveDataEntriesRequest& request, const Page& page) {
  const Moment start =
      request.has_start_time() ? Moment::AtOrAfter(request.start_time()) : Moment::BeforeAll();
  const Moment end =
      request.has_end_time() ? Moment::AtOrAfter(request.end_time()) : Moment::AfterAll();
  const bool oldest_first = request.order_by() == "dt_stamp";
  // The end of the range is used as a last row with id 0: all ids are greater.
  Moment last_stamp = oldest_first ? start : end;
  int64_t last_id = 0;
  if (!page.last_key.empty()) {
    // Page tokens are not signed: a forged one may hold any number.
    last_stamp = Moment::FromUnixMicroseconds(
        std::clamp(page.last_key[0], kFirstMicrosecond, kLastMicrosecond));
    last_id = page.last_key[1];
  }
  const Moment bound = oldest_first ? end : start;
  const int64_t site_id = request.site_id();
  const auto list = [&](pqxx::nontransaction& tx) {
    if (site_id == 0) {
      return Query(tx, oldest_first ? kListOldestFirst : kListNewestFirst,
                   {last_stamp, last_id, bound, page.limit});
    }
    return Query(tx, oldest_first ? kListOfSiteOldestFirst : kListOfSiteNewestFirst,
                 {last_stamp, last_id, bound, page.limit, site_id});
  };
  return session_.Autocommit(
      [&](pqxx::nontransaction& tx) -> absl::StatusOr<std::vector<LiveDataEntry>> {
        const Rows rows = list(tx);
        if (rows.empty() && site_id != 0) {
          const absl::Status found = CheckSites(tx, {site_id});
          if (!found.ok()) return found;
        }
        std::vector<LiveDataEntry> entries;
        entries.reserve(rows.size());
        for (int row = 0; row < rows.size(); ++row) entries.push_back(EntryFromRow(rows, row));
        return entries;
      });
}

absl::StatusOr<Empty> LiveDataRepository::Delete(const v1::DeleteLiveDataEntryRequest& request) {
  const LiveDataKey key = {request.site_id(), request.id()};
  if (request.validate_only()) {
    const absl::Status found = GetMany({key}).front().status();
    if (!found.ok()) return found;
    return Empty();
  }
  const MonthRange month = MonthOfId(key.id).value_or(MonthRange());
  return session_.Autocommit([&](pqxx::nontransaction& tx) -> absl::StatusOr<Empty> {
    const Rows rows =
        Query(tx, kDeleteLiveDataEntry, {key.site_id, key.id, month.begin, month.end});
    if (rows.empty()) return LiveDataEntryNotFound(key.site_id, key.id);
    return Empty();
  });
}

}  // namespace energysites::storage
