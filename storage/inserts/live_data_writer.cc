#include "storage/inserts/live_data_writer.h"

#include <set>
#include <string>
#include <unordered_map>
#include <utility>

#include "absl/strings/ascii.h"
#include "storage/errors/errors.h"
#include "storage/live_data/live_data_id.h"
#include "storage/live_data/live_data_rollups.h"
#include "storage/live_data/live_data_rows.h"
#include "storage/postgres/query.h"
#include "storage/postgres/sql_errors.h"

namespace energysites::storage {
namespace {

using v1::LiveDataEntry;

// Each site's key is held to the end, so that a deletion either sees these rows or is seen here.
// Sites are taken in the order of their ids, so that two batches cannot wait for each other. A
// site that someone else is deleting is left out rather than waited for.
constexpr Statement kInsertLiveData = {"insert_live_data", R"sql(
  WITH site AS MATERIALIZED (
    SELECT id FROM sites WHERE id = ANY($1::bigint[]) AND delete_time IS NULL
    ORDER BY id FOR KEY SHARE SKIP LOCKED
  ), mark AS (
    INSERT INTO live_data_dirty_buckets (site_id, bucket)
    SELECT dirty.site_id, dirty.bucket
    FROM unnest($11::bigint[], $12::timestamptz[]) AS dirty (site_id, bucket)
    JOIN site ON site.id = dirty.site_id
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
  RETURNING id, create_time
)sql"};

// What kInsertLiveData then finds locked by its own transaction.
constexpr Statement kLockSites = {"lock_sites", R"sql(
  SELECT id FROM sites WHERE id = ANY($1::bigint[]) AND delete_time IS NULL
  ORDER BY id FOR KEY SHARE
)sql"};

constexpr Statement kFindSites = {"find_sites", R"sql(
  SELECT id FROM sites WHERE id = ANY($1::bigint[]) AND delete_time IS NULL
)sql"};

Array<int64_t> SitesOf(const std::vector<const LiveDataEntry*>& entries) {
  std::set<int64_t> sites;
  for (const LiveDataEntry* entry : entries) sites.insert(entry->site_id());
  Array<int64_t> array;
  for (const int64_t site : sites) array.Add(site);
  return array;
}

// With 10,000 entries, stored or failed without details, an answer stays well below the 4 MiB that
// gRPC clients take by default.
constexpr size_t kMaxDetailedBytes = 512 << 10;

// Fewer fit into kMaxDetailedBytes.
constexpr size_t kMaxDetailed = 5000;

void AddFailures(const LiveDataWriter::Failures& failures,
                 v1::BatchCreateLiveDataEntriesResponse& response) {
  size_t bytes = 0;
  for (const auto& [index, failure] : failures) {
    google::rpc::Status& status = (*response.mutable_failed_requests())[index];
    status = ToRpcStatus(failure);
    if (status.details().empty()) continue;
    bytes += status.ByteSizeLong();
    if (bytes > kMaxDetailedBytes) status = ToRpcStatus(WithoutDetails(failure));
  }
}

// Whether a fault of a whole batch says the same of each of its calls.
bool IsForAll(const absl::Status& status) {
  return absl::IsUnavailable(status) || absl::IsCancelled(status) ||
         absl::IsDeadlineExceeded(status) || absl::IsAborted(status);
}

}  // namespace

Statements LiveDataWriter::AllStatements() {
  Statements statements = {&kInsertLiveData, &kLockSites, &kFindSites};
  const Statements allocator = LiveDataAllocator::AllStatements();
  statements.insert(statements.end(), allocator.begin(), allocator.end());
  return statements;
}

LiveDataWriter::Stored LiveDataWriter::Insert(pqxx::transaction_base& tx, const Entries& entries) {
  Stored stored(entries.size());
  if (entries.empty()) return stored;
  const std::vector<int64_t> numbers = allocator_.TakeNumbers(tx, entries.size());
  Array<int64_t> ids, site_ids, dirty_site_ids;
  Array<Moment> stamps, dirty_buckets;
  Array<double> socs, loads, net_loads;
  Array<bool> pvs, bios, cros;
  std::unordered_map<int64_t, size_t> index_of_id;
  std::set<std::pair<int64_t, int64_t>> dirty;
  for (size_t i = 0; i < entries.size(); ++i) {
    const LiveDataEntry& entry = *entries[i];
    const int64_t id = LiveDataId(MonthOf(entry.dt_stamp()), numbers[i]);
    index_of_id[id] = i;
    dirty.emplace(entry.site_id(), BucketOf(entry.dt_stamp()));
    ids.Add(id);
    site_ids.Add(entry.site_id());
    stamps.Add(Moment::From(entry.dt_stamp()));
    socs.Add(entry.soc());
    loads.Add(entry.load_kwh());
    net_loads.Add(entry.net_load_kwh());
    pvs.Add(entry.pv_notification());
    bios.Add(entry.bio_notification());
    cros.Add(entry.cro_notification());
  }
  for (const auto& [site_id, bucket] : dirty) {
    dirty_site_ids.Add(site_id);
    dirty_buckets.Add(Moment::FromUnixMicroseconds(bucket));
  }
  const Array<int64_t> sites = SitesOf(entries);
  const Rows rows = Query(tx, kInsertLiveData,
                          {sites, ids, site_ids, stamps, socs, loads, net_loads, pvs, bios, cros,
                           dirty_site_ids, dirty_buckets});
  // Not every database returns the rows in the order given: the ids tell which are in.
  for (int row = 0; row < rows.size(); ++row) {
    const int64_t id = rows.Int64(row, 0);
    const size_t i = index_of_id.at(id);
    stored[i] = AsStored(*entries[i]);
    stored[i]->set_id(id);
    *stored[i]->mutable_create_time() = rows.Stamp(row, 1).ToTimestamp();
  }
  return stored;
}

LiveDataWriter::Stored LiveDataWriter::LockAndInsert(pqxx::work& tx, const Entries& entries) {
  const Array<int64_t> sites = SitesOf(entries);
  Query(tx, kLockSites, {sites});
  return Insert(tx, entries);
}

LiveDataWriter::Stored LiveDataWriter::Check(pqxx::work& tx, const Entries& entries) {
  const Array<int64_t> sites = SitesOf(entries);
  const Rows rows = Query(tx, kFindSites, {sites});
  std::set<int64_t> found;
  for (int row = 0; row < rows.size(); ++row) found.insert(rows.Int64(row, 0));
  Stored checked(entries.size());
  for (size_t i = 0; i < entries.size(); ++i) {
    if (found.count(entries[i]->site_id()) > 0) checked[i] = AsStored(*entries[i]);
  }
  return checked;
}

template <class Write>
auto LiveDataWriter::WithMonths(const Entries& entries, Write write) -> decltype(write()) {
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

LiveDataWriter::Results LiveDataWriter::CreateMany(const std::vector<CreateCall>& calls) {
  Results results(calls.size(), Unfinished());
  Calls riding;
  std::vector<size_t> indexes;
  std::set<std::pair<int64_t, std::string>> request_ids;
  for (size_t i = 0; i < calls.size(); ++i) {
    const auto& [request, write_request] = calls[i];
    if (request->validate_only()) continue;
    if (!allocator_.KnowsMonth(MonthOf(request->live_data_entry().dt_stamp()))) continue;
    // The second of two twins finds the answer of the first when that is committed.
    if (write_request.has_value() &&
        !request_ids
             .emplace(write_request->site_id, absl::AsciiStrToLower(write_request->request_id))
             .second) {
      continue;
    }
    riding.push_back(&calls[i]);
    indexes.push_back(i);
  }
  Results settled = CreateByHalves(riding);
  for (size_t i = 0; i < settled.size(); ++i) results[indexes[i]] = std::move(settled[i]);
  return results;
}

LiveDataWriter::Results LiveDataWriter::CreateByHalves(const Calls& calls) {
  if (calls.empty()) return {};
  absl::StatusOr<Results> results = TryMany(calls);
  if (results.ok()) return *std::move(results);
  if (IsMissingPartition(results.status())) {
    allocator_.ForgetMonths();
    return Results(calls.size(), Unfinished());
  }
  if (calls.size() == 1 || IsForAll(results.status())) {
    return Results(calls.size(), results.status());
  }
  const auto middle = calls.begin() + calls.size() / 2;
  Results first = CreateByHalves({calls.begin(), middle});
  Results second = CreateByHalves({middle, calls.end()});
  std::move(second.begin(), second.end(), std::back_inserter(first));
  return first;
}

absl::StatusOr<LiveDataWriter::Results> LiveDataWriter::TryMany(const Calls& calls) {
  Entries entries;
  for (const CreateCall* call : calls) {
    if (call->write_request.has_value()) return TryManyWithRequestIds(calls);
    entries.push_back(&call->request->live_data_entry());
  }
  return session_.Autocommit([&](pqxx::nontransaction& tx) -> absl::StatusOr<Results> {
    Results results(calls.size(), Unfinished());
    Stored stored = Insert(tx, entries);
    for (size_t i = 0; i < stored.size(); ++i) {
      if (stored[i].has_value()) results[i] = *std::move(stored[i]);
    }
    return results;
  });
}

absl::StatusOr<LiveDataWriter::Results> LiveDataWriter::TryManyWithRequestIds(const Calls& calls) {
  return session_.Transact([&](pqxx::work& tx) -> absl::StatusOr<Results> {
    Results results(calls.size(), Unfinished());
    std::vector<const WriteRequest*> asked;
    std::vector<size_t> asking;
    std::vector<bool> answered(calls.size(), false);
    for (size_t i = 0; i < calls.size(); ++i) {
      if (!calls[i]->write_request.has_value()) continue;
      asked.push_back(&*calls[i]->write_request);
      asking.push_back(i);
    }
    const auto answers = FindAnswers(tx, asked);
    for (size_t i = 0; i < answers.size(); ++i) {
      const auto& answer = answers[i];
      if (answer.ok() && !answer->has_value()) continue;
      answered[asking[i]] = true;
      results[asking[i]] = answer.ok() ? ParseAnswer<LiveDataEntry>(**answer) : answer.status();
    }

    Entries entries;
    std::vector<size_t> entering;
    for (size_t i = 0; i < calls.size(); ++i) {
      if (answered[i]) continue;
      entries.push_back(&calls[i]->request->live_data_entry());
      entering.push_back(i);
    }
    Stored stored = Insert(tx, entries);
    std::vector<std::pair<const WriteRequest*, std::string>> new_answers;
    for (size_t i = 0; i < stored.size(); ++i) {
      if (!stored[i].has_value()) continue;
      const auto& write_request = calls[entering[i]]->write_request;
      if (write_request.has_value()) {
        new_answers.emplace_back(&*write_request, stored[i]->SerializeAsString());
      }
      results[entering[i]] = *std::move(stored[i]);
    }
    StoreAnswers(tx, new_answers);
    return results;
  });
}

absl::StatusOr<LiveDataEntry> LiveDataWriter::Create(const CreateCall& call) {
  const LiveDataEntry& entry = call.request->live_data_entry();
  const auto only = [&](Stored stored) -> absl::StatusOr<LiveDataEntry> {
    if (!stored[0].has_value()) return SiteNotFound(entry.site_id());
    return *std::move(stored[0]);
  };
  if (call.request->validate_only()) {
    return CheckWrite(session_, call.write_request,
                      [&](pqxx::work& tx) { return only(Check(tx, {&entry})); });
  }
  const auto created = WithMonths({&entry}, [&] {
    return WriteOnce(session_, call.write_request,
                     [&](pqxx::work& tx) { return only(LockAndInsert(tx, {&entry})); });
  });
  if (!IsEntryNoLongerKept(created.status())) return created;
  // The site comes before the month, and so does the first answer.
  return WriteOnce(session_, call.write_request, [&](pqxx::work& tx) {
    const auto checked = only(Check(tx, {&entry}));
    return checked.ok() ? created : checked;
  });
}

absl::StatusOr<v1::BatchCreateLiveDataEntriesResponse> LiveDataWriter::BatchCreate(
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
  const auto respond = [&](Stored stored) -> absl::StatusOr<Response> {
    Failures failures = invalid;
    Response response;
    for (size_t i = 0; i < stored.size(); ++i) {
      if (stored[i].has_value()) {
        *response.add_live_data_entries() = *std::move(stored[i]);
      } else {
        const absl::Status failure = SiteNotFound(entries[i]->site_id());
        failures.emplace(indexes[i],
                         failures.size() < kMaxDetailed ? failure : WithoutDetails(failure));
      }
    }
    if (!failures.empty() && !request.return_partial_success()) {
      return EntriesWithoutSite(failures);
    }
    AddFailures(failures, response);
    return response;
  };
  const auto check = [&](pqxx::work& tx) { return respond(Check(tx, entries)); };
  if (request.validate_only()) return CheckWrite(session_, write_request, check);
  const auto write_once = [&](const auto& write) {
    return WriteOnce(session_, write_request, write,
                     [&](pqxx::work& tx) { return check(tx).status(); });
  };
  auto response = WithMonths(entries, [&] {
    return write_once([&](pqxx::work& tx) { return respond(LockAndInsert(tx, entries)); });
  });
  if (!IsEntryNoLongerKept(response.status())) return response;
  if (!request.return_partial_success()) {
    // The sites come before the month, and so does the first answer.
    return write_once([&](pqxx::work& tx) {
      auto checked = check(tx);
      return checked.ok() ? response : checked;
    });
  }
  Failures failures = invalid;
  const absl::Status refused = RefuseEntries(entries, indexes, failures);
  if (!refused.ok()) return refused;
  if (failures.size() == invalid.size()) return response;
  return BatchCreate(request, failures, write_request);
}

absl::Status LiveDataWriter::RefuseEntries(const Entries& entries, const std::vector<int>& indexes,
                                           Failures& failures) {
  allocator_.ForgetMonths();
  const auto checked = session_.Transact(
      [&](pqxx::work& tx) -> absl::StatusOr<Stored> { return Check(tx, entries); });
  if (!checked.ok()) return checked.status();
  std::map<int64_t, absl::Status> made;
  for (size_t i = 0; i < entries.size(); ++i) {
    if (!(*checked)[i].has_value()) {
      failures.emplace(indexes[i], SiteNotFound(entries[i]->site_id()));
      continue;
    }
    const int64_t month = MonthOf(entries[i]->dt_stamp());
    const auto [status, is_new] = made.try_emplace(month);
    if (is_new) status->second = allocator_.MakeMonths(session_, {month});
    if (IsEntryNoLongerKept(status->second)) {
      failures.emplace(indexes[i], status->second);
    } else if (!status->second.ok()) {
      return status->second;
    }
  }
  return absl::OkStatus();
}

}  // namespace energysites::storage
