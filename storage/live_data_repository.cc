#include "storage/live_data_repository.h"

#include <algorithm>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>

#include "storage/errors.h"
#include "storage/live_data_id.h"
#include "storage/site_repository.h"
#include "storage/sql_array.h"

namespace energysites::storage {
namespace {

using google::protobuf::Empty;
using v1::LiveDataEntry;

// The years 1 to 9999.
constexpr int64_t kFirstMicrosecond = -62135596800'000000;
constexpr int64_t kLastMicrosecond = 253402300799'999999;

LiveDataEntry EntryFromRow(const pqxx::row& row) {
  LiveDataEntry entry;
  entry.set_id(row["id"].as<int64_t>());
  entry.set_site_id(row["site_id"].as<int64_t>());
  *entry.mutable_dt_stamp() = TimestampFromField(row["dt_stamp"]);
  entry.set_soc(row["soc"].as<double>());
  entry.set_load_kwh(row["load_kwh"].as<double>());
  entry.set_net_load_kwh(row["net_load_kwh"].as<double>());
  entry.set_pv_notification(row["pv_notification"].as<bool>());
  entry.set_bio_notification(row["bio_notification"].as<bool>());
  entry.set_cro_notification(row["cro_notification"].as<bool>());
  *entry.mutable_create_time() = TimestampFromField(row["create_time"]);
  return entry;
}

// Each site's key is held to the end, so that a deletion either sees these rows or is seen here.
// Sites are taken in the order of their ids, so that two batches cannot wait for each other.
constexpr Statement kInsertLiveData = {"insert_live_data", R"sql(
  WITH site AS MATERIALIZED (
    SELECT id FROM sites WHERE id = ANY($1::bigint[]) AND delete_time IS NULL
    ORDER BY id FOR KEY SHARE
  )
  INSERT INTO live_data (id, site_id, dt_stamp, soc, load_kwh, net_load_kwh,
                         pv_notification, bio_notification, cro_notification)
  SELECT entry.id, entry.site_id, entry.dt_stamp, entry.soc, entry.load_kwh, entry.net_load_kwh,
         entry.pv_notification, entry.bio_notification, entry.cro_notification
  FROM unnest($2::bigint[], $3::bigint[], $4::timestamptz[], $5::float8[], $6::float8[],
              $7::float8[], $8::boolean[], $9::boolean[], $10::boolean[])
    AS entry (id, site_id, dt_stamp, soc, load_kwh, net_load_kwh,
              pv_notification, bio_notification, cro_notification)
  JOIN site ON site.id = entry.site_id
  RETURNING id, (extract(epoch FROM create_time) * 1000000)::bigint AS create_time
)sql"};

constexpr Statement kFindSites = {"find_sites", R"sql(
  SELECT id FROM sites WHERE id = ANY($1::bigint[]) AND delete_time IS NULL
)sql"};

// $3 and $4 bound the month that the id names, and so the partition.
constexpr Statement kGetLiveDataEntry = {"get_live_data_entry", R"sql(
  SELECT id, site_id, (extract(epoch FROM dt_stamp) * 1000000)::bigint AS dt_stamp,
         soc, load_kwh, net_load_kwh, pv_notification, bio_notification, cro_notification,
         (extract(epoch FROM create_time) * 1000000)::bigint AS create_time
  FROM live_data WHERE site_id = $1 AND id = $2 AND dt_stamp >= $3 AND dt_stamp < $4
)sql"};

// date_bin counts from before all entries, because at some moments before its origin it is wrong.
constexpr Statement kDeleteLiveDataEntry = {"delete_live_data_entry", R"sql(
  WITH deleted AS (
    DELETE FROM live_data WHERE site_id = $1 AND id = $2 AND dt_stamp >= $3 AND dt_stamp < $4
    RETURNING id, site_id, dt_stamp
  ), mark AS (
    INSERT INTO live_data_dirty_buckets (site_id, bucket)
    SELECT site_id, date_bin('15 minutes', dt_stamp, '0001-01-01T00:00:00Z') FROM deleted
  )
  SELECT id FROM deleted
)sql"};

// Lists: rows after ($1, $2) up to the other end $3 of the range. The row comparison finds the
// place, the plain one on dt_stamp tells the planner which partitions to leave out.
constexpr Statement kListOldestFirst = {"list_live_data_oldest_first", R"sql(
  SELECT id, site_id, (extract(epoch FROM dt_stamp) * 1000000)::bigint AS dt_stamp,
         soc, load_kwh, net_load_kwh, pv_notification, bio_notification, cro_notification,
         (extract(epoch FROM create_time) * 1000000)::bigint AS create_time
  FROM live_data AS entry
  WHERE entry.dt_stamp >= $1 AND (entry.dt_stamp, id) > ($1, $2) AND entry.dt_stamp < $3
  ORDER BY entry.dt_stamp, id LIMIT $4
)sql"};

constexpr Statement kListNewestFirst = {"list_live_data_newest_first", R"sql(
  SELECT id, site_id, (extract(epoch FROM dt_stamp) * 1000000)::bigint AS dt_stamp,
         soc, load_kwh, net_load_kwh, pv_notification, bio_notification, cro_notification,
         (extract(epoch FROM create_time) * 1000000)::bigint AS create_time
  FROM live_data AS entry
  WHERE entry.dt_stamp <= $1 AND (entry.dt_stamp, id) < ($1, $2) AND entry.dt_stamp >= $3
  ORDER BY entry.dt_stamp DESC, id DESC LIMIT $4
)sql"};

constexpr Statement kListOfSiteOldestFirst = {"list_live_data_of_site_oldest_first", R"sql(
  SELECT id, site_id, (extract(epoch FROM dt_stamp) * 1000000)::bigint AS dt_stamp,
         soc, load_kwh, net_load_kwh, pv_notification, bio_notification, cro_notification,
         (extract(epoch FROM create_time) * 1000000)::bigint AS create_time
  FROM live_data AS entry
  WHERE site_id = $5
    AND entry.dt_stamp >= $1 AND (entry.dt_stamp, id) > ($1, $2) AND entry.dt_stamp < $3
  ORDER BY entry.dt_stamp, id LIMIT $4
)sql"};

constexpr Statement kListOfSiteNewestFirst = {"list_live_data_of_site_newest_first", R"sql(
  SELECT id, site_id, (extract(epoch FROM dt_stamp) * 1000000)::bigint AS dt_stamp,
         soc, load_kwh, net_load_kwh, pv_notification, bio_notification, cro_notification,
         (extract(epoch FROM create_time) * 1000000)::bigint AS create_time
  FROM live_data AS entry
  WHERE site_id = $5
    AND entry.dt_stamp <= $1 AND (entry.dt_stamp, id) < ($1, $2) AND entry.dt_stamp >= $3
  ORDER BY entry.dt_stamp DESC, id DESC LIMIT $4
)sql"};

std::set<int64_t> SitesOf(const std::vector<const LiveDataEntry*>& entries) {
  std::set<int64_t> sites;
  for (const LiveDataEntry* entry : entries) sites.insert(entry->site_id());
  return sites;
}

std::string ArrayOf(const std::set<int64_t>& values) {
  SqlArray array;
  for (const int64_t value : values) array.Add(value);
  return array.Take();
}

// The entry as it is stored, but for what the server sets.
LiveDataEntry AsStored(const LiveDataEntry& sent) {
  LiveDataEntry entry = sent;
  *entry.mutable_dt_stamp() = CutToMicroseconds(sent.dt_stamp());
  entry.clear_id();
  entry.clear_create_time();
  entry.DiscardUnknownFields();
  return entry;
}

// The first stored moment at or after `stamp`: stored ones have whole microseconds, so a bound
// between two of them moves up, where a cut would move it to before an entry or behind it.
std::string SqlBound(google::protobuf::Timestamp stamp, bool present, const char* otherwise) {
  if (!present) return otherwise;
  constexpr int kAlmostAMicrosecond = 999, kNanosPerSecond = 1000000000;
  stamp.set_nanos(stamp.nanos() + kAlmostAMicrosecond);
  if (stamp.nanos() >= kNanosPerSecond) {
    stamp.set_nanos(stamp.nanos() - kNanosPerSecond);
    stamp.set_seconds(stamp.seconds() + 1);
  }
  return SqlFromTimestamp(stamp);
}

}  // namespace

Statements LiveDataRepository::AllStatements() {
  Statements statements = {
      &kInsertLiveData,  &kFindSites,       &kGetLiveDataEntry,      &kDeleteLiveDataEntry,
      &kListOldestFirst, &kListNewestFirst, &kListOfSiteOldestFirst, &kListOfSiteNewestFirst};
  const Statements allocator = LiveDataAllocator::AllStatements();
  statements.insert(statements.end(), allocator.begin(), allocator.end());
  return statements;
}

template <class Write>
auto LiveDataRepository::WithMonths(const Entries& entries, Write write) -> decltype(write()) {
  std::set<int64_t> months;
  for (const LiveDataEntry* entry : entries) months.insert(MonthOf(entry->dt_stamp()));
  absl::Status made = allocator_.MakeMonths(session_, months);
  if (!made.ok()) return made;
  auto result = write();
  if (!IsMissingPartition(result.status())) return result;
  // The month was dropped since it was last seen.
  allocator_.ForgetMonths();
  made = allocator_.MakeMonths(session_, months);
  if (!made.ok()) return made;
  return write();
}

std::vector<std::optional<LiveDataEntry>> LiveDataRepository::Insert(pqxx::work& tx,
                                                                     const Entries& entries) {
  std::vector<std::optional<LiveDataEntry>> stored(entries.size());
  if (entries.empty()) return stored;
  const std::vector<int64_t> numbers = allocator_.TakeNumbers(tx, entries.size());
  SqlArray ids, sites, stamps, socs, loads, net_loads, pvs, bios, cros;
  std::unordered_map<int64_t, size_t> index_of_id;
  for (size_t i = 0; i < entries.size(); ++i) {
    const LiveDataEntry& entry = *entries[i];
    const int64_t id = LiveDataId(MonthOf(entry.dt_stamp()), numbers[i]);
    index_of_id[id] = i;
    ids.Add(id);
    sites.Add(entry.site_id());
    stamps.AddWord(SqlFromTimestamp(entry.dt_stamp()));
    socs.Add(entry.soc());
    loads.Add(entry.load_kwh());
    net_loads.Add(entry.net_load_kwh());
    pvs.Add(entry.pv_notification());
    bios.Add(entry.bio_notification());
    cros.Add(entry.cro_notification());
  }
  // Not every database returns the rows in the order given: the ids tell which are in.
  for (const pqxx::row& row : tx.exec_prepared(
           kInsertLiveData.name, ArrayOf(SitesOf(entries)), ids.Take(), sites.Take(), stamps.Take(),
           socs.Take(), loads.Take(), net_loads.Take(), pvs.Take(), bios.Take(), cros.Take())) {
    const int64_t id = row["id"].as<int64_t>();
    const size_t i = index_of_id.at(id);
    stored[i] = AsStored(*entries[i]);
    stored[i]->set_id(id);
    *stored[i]->mutable_create_time() = TimestampFromField(row["create_time"]);
  }
  return stored;
}

std::vector<std::optional<LiveDataEntry>> LiveDataRepository::Check(pqxx::work& tx,
                                                                    const Entries& entries) {
  std::set<int64_t> found;
  for (const pqxx::row& row : tx.exec_prepared(kFindSites.name, ArrayOf(SitesOf(entries)))) {
    found.insert(row["id"].as<int64_t>());
  }
  std::vector<std::optional<LiveDataEntry>> checked(entries.size());
  for (size_t i = 0; i < entries.size(); ++i) {
    if (found.count(entries[i]->site_id()) > 0) checked[i] = AsStored(*entries[i]);
  }
  return checked;
}

absl::StatusOr<LiveDataEntry> LiveDataRepository::Create(
    const v1::CreateLiveDataEntryRequest& request,
    const std::optional<WriteRequest>& write_request) {
  const Entries entries = {&request.live_data_entry()};
  const auto only =
      [&](std::vector<std::optional<LiveDataEntry>> stored) -> absl::StatusOr<LiveDataEntry> {
    if (!stored[0].has_value()) return SiteNotFound(request.live_data_entry().site_id());
    return *std::move(stored[0]);
  };
  if (request.validate_only()) {
    return CheckWrite(session_, write_request,
                      [&](pqxx::work& tx) { return only(Check(tx, entries)); });
  }
  return WithMonths(entries, [&] {
    return WriteOnce(session_, write_request,
                     [&](pqxx::work& tx) { return only(Insert(tx, entries)); });
  });
}

absl::StatusOr<v1::BatchCreateLiveDataEntriesResponse> LiveDataRepository::BatchCreate(
    const v1::BatchCreateLiveDataEntriesRequest& request, const Failures& invalid,
    const std::optional<WriteRequest>& write_request) {
  using Response = v1::BatchCreateLiveDataEntriesResponse;
  Entries entries;
  std::vector<int> indexes;
  for (int i = 0; i < request.entries_size(); ++i) {
    if (invalid.count(i) > 0) continue;
    entries.push_back(&request.entries(i));
    indexes.push_back(i);
  }
  const auto respond =
      [&](std::vector<std::optional<LiveDataEntry>> stored) -> absl::StatusOr<Response> {
    Failures failures = invalid;
    Response response;
    for (size_t i = 0; i < stored.size(); ++i) {
      if (stored[i].has_value()) {
        *response.add_live_data_entries() = *std::move(stored[i]);
      } else {
        failures.emplace(indexes[i], SiteNotFound(entries[i]->site_id()));
      }
    }
    if (!failures.empty() && !request.return_partial_success()) {
      return EntriesWithoutSite(failures);
    }
    for (const auto& [index, status] : failures) {
      (*response.mutable_failed_requests())[index] = ToRpcStatus(status);
    }
    return response;
  };
  if (request.validate_only()) {
    return CheckWrite(session_, write_request,
                      [&](pqxx::work& tx) { return respond(Check(tx, entries)); });
  }
  return WithMonths(entries, [&] {
    return WriteOnce(session_, write_request,
                     [&](pqxx::work& tx) { return respond(Insert(tx, entries)); });
  });
}

absl::StatusOr<LiveDataEntry> LiveDataRepository::Get(int64_t site_id, int64_t id) {
  const std::optional<MonthRange> month = MonthOfId(id);
  if (!month.has_value()) return LiveDataEntryNotFound(site_id, id);
  return session_.Transact([&](pqxx::work& tx) -> absl::StatusOr<LiveDataEntry> {
    const pqxx::result rows =
        tx.exec_prepared(kGetLiveDataEntry.name, site_id, id, month->begin, month->end);
    if (rows.empty()) return LiveDataEntryNotFound(site_id, id);
    return EntryFromRow(rows.front());
  });
}

absl::StatusOr<std::vector<LiveDataEntry>> LiveDataRepository::List(
    const v1::ListLiveDataEntriesRequest& request, const Page& page) {
  const std::string start = SqlBound(request.start_time(), request.has_start_time(), "-infinity");
  const std::string end = SqlBound(request.end_time(), request.has_end_time(), "infinity");
  const bool oldest_first = request.order_by() == "dt_stamp";
  // The end of the range stands for a last row with id 0: all ids are greater.
  std::string last_stamp = oldest_first ? start : end;
  int64_t last_id = 0;
  if (!page.last_key.empty()) {
    // Tokens are no secret: one that was made up may hold any number.
    const int64_t moment = std::clamp(page.last_key[0], kFirstMicrosecond, kLastMicrosecond);
    last_stamp = SqlFromTimestamp(TimestampFromMicroseconds(moment));
    last_id = page.last_key[1];
  }
  const std::string& bound = oldest_first ? end : start;
  return session_.Transact([&](pqxx::work& tx) -> absl::StatusOr<std::vector<LiveDataEntry>> {
    pqxx::result rows;
    if (const int64_t site_id = request.site_id(); site_id == 0) {
      rows = tx.exec_prepared(oldest_first ? kListOldestFirst.name : kListNewestFirst.name,
                              last_stamp, last_id, bound, page.limit);
    } else {
      rows =
          tx.exec_prepared(oldest_first ? kListOfSiteOldestFirst.name : kListOfSiteNewestFirst.name,
                           last_stamp, last_id, bound, page.limit, site_id);
      if (rows.empty() && !SiteExists(tx, site_id)) return SiteNotFound(site_id);
    }
    std::vector<LiveDataEntry> entries;
    for (const pqxx::row& row : rows) entries.push_back(EntryFromRow(row));
    return entries;
  });
}

absl::StatusOr<Empty> LiveDataRepository::Delete(const v1::DeleteLiveDataEntryRequest& request) {
  const absl::Status not_found = LiveDataEntryNotFound(request.site_id(), request.id());
  const std::optional<MonthRange> month = MonthOfId(request.id());
  if (!month.has_value()) return not_found;
  const Statement& statement = request.validate_only() ? kGetLiveDataEntry : kDeleteLiveDataEntry;
  return session_.Transact([&](pqxx::work& tx) -> absl::StatusOr<Empty> {
    const pqxx::result rows =
        tx.exec_prepared(statement.name, request.site_id(), request.id(), month->begin, month->end);
    if (rows.empty()) return not_found;
    return Empty();
  });
}

}  // namespace energysites::storage
