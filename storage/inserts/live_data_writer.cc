#include "storage/inserts/live_data_writer.h"

#include <set>
#include <string>
#include <utility>

#include "absl/strings/ascii.h"
#include "google/protobuf/empty.pb.h"
#include "storage/errors/errors.h"
#include "storage/live_data/live_data_id.h"
#include "storage/live_data/live_data_rows.h"
#include "storage/postgres/query.h"

namespace energysites::storage {
namespace {

using google::protobuf::Empty;
using v1::LiveDataEntry;

constexpr Statement kFindSites = {"find_sites", R"sql(
  SELECT id FROM sites WHERE id = ANY($1::bigint[]) AND delete_time IS NULL
)sql"};

// With 10,000 entries, stored or failed without details, an answer stays well below the 4 MiB that
// gRPC clients take by default.
constexpr size_t kMaxDetailedBytes = 512 << 10;

void AddErrors(const EntryErrors& errors, v1::BatchCreateLiveDataEntriesResponse& response) {
  size_t bytes = 0;
  for (const auto& [index, error] : errors) {
    google::rpc::Status& status = (*response.mutable_failed_requests())[index];
    status = ToRpcStatus(error);
    if (status.details().empty()) continue;
    bytes += status.ByteSizeLong();
    if (bytes > kMaxDetailedBytes) status = ToRpcStatus(WithoutDetails(error));
  }
}

// Of a batch that is stored whole or not at all. Missing sites come before expired months.
absl::Status ErrorOfBatch(const EntryErrors& errors) {
  EntryErrors without_site;
  for (const auto& [index, error] : errors) {
    if (absl::IsNotFound(error)) without_site.emplace(index, error);
  }
  return without_site.empty() ? errors.begin()->second : EntriesWithoutSite(without_site);
}

// Whether an error of a transaction for many calls may be that of a single call.
bool IsCallError(const absl::Status& status) {
  return !absl::IsUnavailable(status) && !absl::IsCancelled(status) &&
         !absl::IsDeadlineExceeded(status) && !absl::IsAborted(status);
}

}  // namespace

Statements LiveDataWriter::AllStatements() {
  Statements statements = EntryInserter::AllStatements();
  statements.push_back(&kFindSites);
  return statements;
}

LiveDataWriter::Results LiveDataWriter::Insert(pqxx::transaction_base& tx, const Entries& entries,
                                               const InsertOptions& options) {
  const auto verdicts = inserter_.InsertEntries(tx, entries, options);
  Results results;
  results.reserve(entries.size());
  for (size_t i = 0; i < entries.size(); ++i) {
    if (!verdicts[i].ok()) {
      results.emplace_back(verdicts[i].status());
      continue;
    }
    LiveDataEntry stored = AsStored(*entries[i]);
    stored.set_id(verdicts[i]->id);
    *stored.mutable_create_time() = verdicts[i]->create_time.ToTimestamp();
    results.emplace_back(std::move(stored));
  }
  return results;
}

LiveDataWriter::Results LiveDataWriter::CheckSites(pqxx::work& tx, const Entries& entries) {
  std::set<int64_t> wanted, found;
  for (const LiveDataEntry* entry : entries) wanted.insert(entry->site_id());
  Array<int64_t> ids;
  for (const int64_t id : wanted) ids.Add(id);
  const Rows rows = Query(tx, kFindSites, {ids});
  for (int row = 0; row < rows.size(); ++row) found.insert(rows.Int64(row, 0));
  Results results;
  results.reserve(entries.size());
  for (const LiveDataEntry* entry : entries) {
    if (found.count(entry->site_id()) > 0) {
      results.emplace_back(AsStored(*entry));
    } else {
      results.emplace_back(SiteNotFound(entry->site_id()));
    }
  }
  return results;
}

LiveDataWriter::Results LiveDataWriter::CreateMany(const std::vector<CreateCall>& calls) {
  Results results(calls.size(), Unfinished());
  std::vector<size_t> indexes;
  std::set<std::pair<int64_t, std::string>> request_ids;
  for (size_t i = 0; i < calls.size(); ++i) {
    const auto& [request, write_request] = calls[i];
    if (request->validate_only()) continue;
    if (!state_.KnowsMonth(MonthOf(request->live_data_entry().dt_stamp()))) continue;
    // The second of two calls with one request_id finds the answer of the first when that is
    // committed.
    if (write_request.has_value() &&
        !request_ids
             .emplace(write_request->site_id, absl::AsciiStrToLower(write_request->request_id))
             .second) {
      continue;
    }
    indexes.push_back(i);
  }
  if (indexes.empty()) return results;
  absl::Status status = CreateGroup(calls, indexes, nullptr, results);
  if (!status.ok() && !HaveMonthsChanged(status) && IsCallError(status)) {
    status = CreateGroup(calls, indexes, IsCallError, results);
  }
  if (status.ok()) return results;
  if (HaveMonthsChanged(status)) {
    state_.ForgetMonths();
    status = Unfinished();
  }
  for (const size_t i : indexes) results[i] = status;
  return results;
}

absl::Status LiveDataWriter::CreateGroup(const std::vector<CreateCall>& calls,
                                         const std::vector<size_t>& indexes,
                                         bool (*is_call_error)(const absl::Status&),
                                         Results& results) {
  InsertOptions options;
  options.skip_locked_sites = true;
  options.is_entry_error = is_call_error;
  const auto insert = [&](pqxx::transaction_base& tx, const std::vector<size_t>& new_calls) {
    Entries entries;
    for (const size_t i : new_calls) entries.push_back(&calls[i].request->live_data_entry());
    Results inserted = Insert(tx, entries, options);
    for (size_t i = 0; i < inserted.size(); ++i) results[new_calls[i]] = std::move(inserted[i]);
  };

  std::vector<size_t> with_id;
  std::vector<const WriteRequest*> write_requests;
  for (const size_t i : indexes) {
    if (!calls[i].write_request.has_value()) continue;
    with_id.push_back(i);
    write_requests.push_back(&*calls[i].write_request);
  }
  if (with_id.empty() && is_call_error == nullptr) {
    return session_
        .Autocommit([&](pqxx::nontransaction& tx) -> absl::StatusOr<Empty> {
          insert(tx, indexes);
          return Empty();
        })
        .status();
  }
  return session_
      .Transact([&](pqxx::work& tx) -> absl::StatusOr<Empty> {
        const auto answers = FindAnswers(tx, write_requests);
        std::set<size_t> answered;
        for (size_t i = 0; i < answers.size(); ++i) {
          const auto& answer = answers[i];
          if (answer.ok() && !answer->has_value()) continue;
          answered.insert(with_id[i]);
          results[with_id[i]] =
              answer.ok() ? ParseAnswer<LiveDataEntry>(**answer) : answer.status();
        }
        std::vector<size_t> new_calls;
        for (const size_t i : indexes) {
          if (answered.count(i) == 0) new_calls.push_back(i);
        }
        insert(tx, new_calls);
        std::vector<std::pair<const WriteRequest*, std::string>> new_answers;
        for (const size_t i : with_id) {
          if (answered.count(i) > 0 || !results[i].ok()) continue;
          new_answers.emplace_back(&*calls[i].write_request, results[i]->SerializeAsString());
        }
        StoreAnswers(tx, new_answers);
        return Empty();
      })
      .status();
}

absl::StatusOr<LiveDataEntry> LiveDataWriter::Create(const CreateCall& call) {
  const Entries entries = {&call.request->live_data_entry()};
  if (call.request->validate_only()) {
    return CheckWrite(session_, call.write_request,
                      [&](pqxx::work& tx) { return CheckSites(tx, entries).front(); });
  }
  return inserter_.WithMonths(entries, [&](const Months& expired_months) {
    return WriteOnce(session_, call.write_request,
                     [&](pqxx::work& tx) { return Insert(tx, entries, {expired_months}).front(); });
  });
}

absl::StatusOr<v1::BatchCreateLiveDataEntriesResponse> LiveDataWriter::BatchCreate(
    const v1::BatchCreateLiveDataEntriesRequest& request, const EntryErrors& invalid,
    const std::optional<WriteRequest>& write_request) {
  using Response = v1::BatchCreateLiveDataEntriesResponse;
  const ValidEntries valid(request.entries(), invalid);
  const auto respond = [&](Results results) -> absl::StatusOr<Response> {
    EntryErrors errors = invalid;
    Response response;
    for (size_t i = 0; i < results.size(); ++i) {
      if (results[i].ok()) {
        *response.add_live_data_entries() = *std::move(results[i]);
      } else {
        errors.emplace(valid.indexes[i], results[i].status());
      }
    }
    if (!errors.empty() && !request.return_partial_success()) return ErrorOfBatch(errors);
    AddErrors(errors, response);
    return response;
  };
  const auto check = [&](pqxx::work& tx) { return respond(CheckSites(tx, valid.entries)); };
  if (request.validate_only()) return CheckWrite(session_, write_request, check);
  return inserter_.WithMonths(valid.entries, [&](const Months& expired_months) {
    return WriteOnce(
        session_, write_request,
        [&](pqxx::work& tx) { return respond(Insert(tx, valid.entries, {expired_months})); },
        [&](pqxx::work& tx) { return check(tx).status(); });
  });
}

}  // namespace energysites::storage
