#include "services/client/live_data_import.h"

#include <google/protobuf/util/time_util.h>

#include <algorithm>
#include <deque>
#include <future>
#include <iterator>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "services/client/rows.h"

namespace energysites {
namespace {

using google::protobuf::util::TimeUtil;

constexpr absl::string_view kResource = "live_data_entry";
constexpr int kBatchRows = 5000;
constexpr int kMaxEntries = 10000;  // what a call may carry
// Enough that the service never waits for the file, and few enough to leave it to others.
constexpr size_t kBatchesInFlight = 4;

// Seconds, first and last, in which a site has entries in a batch.
struct Range {
  int64_t first = 0;
  int64_t last = 0;
};

struct Batch {
  int64_t rows = 0;
  std::vector<Fault> faults;
  v1::BatchCreateLiveDataEntriesRequest request;
  std::vector<int64_t> lines;      // of request.entries
  std::map<int64_t, Range> older;  // the sites that may have entries of an earlier run
  double fraction_read = 0;        // of the file, at this batch's end
};

struct Outcome {
  Counts counts;
  std::vector<Fault> faults;
  absl::Status status;
  double fraction_read = 0;
};

// What makes two entries equal: all that a file says, the stamp as fine as it is stored. Not the
// message's bytes, which hold what the service set, and what a newer one may add.
std::string KeyOf(v1::LiveDataEntry entry) {
  google::protobuf::Timestamp& stamp = *entry.mutable_dt_stamp();
  stamp.set_nanos(stamp.nanos() / 1000 * 1000);
  return absl::StrCat(entry.site_id(), ":", WriteRow(entry, LiveDataColumns(), ""));
}

// Counts the stored entries of a site that are keys of `stored`.
grpc::Status CountStored(const Connection& connection, int64_t site_id, Range range,
                         absl::flat_hash_map<std::string, int>& stored) {
  v1::ListLiveDataEntriesRequest request;
  request.set_site_id(site_id);
  request.set_page_size(1000);
  request.set_order_by("dt_stamp");
  // A bound that the service would refuse bounds nothing.
  if (range.first >= TimeUtil::kTimestampMinSeconds) {
    request.mutable_start_time()->set_seconds(range.first);
  }
  if (range.last < TimeUtil::kTimestampMaxSeconds) {
    request.mutable_end_time()->set_seconds(range.last + 1);
  }
  do {
    v1::ListLiveDataEntriesResponse page;
    const grpc::Status status = connection.Call([&](grpc::ClientContext& context) {
      return connection.live_data().ListLiveDataEntries(&context, request, &page);
    });
    if (!status.ok()) return status;
    for (v1::LiveDataEntry& entry : *page.mutable_live_data_entries()) {
      const auto found = stored.find(KeyOf(std::move(entry)));
      if (found != stored.end()) ++found->second;
    }
    request.set_page_token(page.next_page_token());
  } while (!request.page_token().empty());
  return grpc::Status::OK;
}

// Takes the entries that are stored out of `batch`, and returns how many. A batch of which
// nothing is stored stays as it is, and so does its request id.
absl::StatusOr<int64_t> RemoveStored(const Connection& connection, Batch& batch) {
  if (batch.older.empty()) return 0;
  absl::flat_hash_map<std::string, int> stored;
  std::vector<std::string> keys;
  for (const v1::LiveDataEntry& entry : batch.request.entries()) {
    keys.push_back(KeyOf(entry));
    if (batch.older.count(entry.site_id()) != 0) stored.emplace(keys.back(), 0);
  }
  for (const auto& [site_id, range] : batch.older) {
    const grpc::Status status = CountStored(connection, site_id, range, stored);
    if (!status.ok()) return ToAbslStatus(status, "the stored entries cannot be listed");
  }
  int kept = 0;
  for (int i = 0; i < batch.request.entries_size(); ++i) {
    const auto found = stored.find(keys[i]);
    if (found != stored.end() && found->second > 0) {
      --found->second;
      continue;
    }
    batch.request.mutable_entries()->SwapElements(kept, i);
    batch.lines[kept++] = batch.lines[i];
  }
  const int removed = batch.request.entries_size() - kept;
  batch.request.mutable_entries()->DeleteSubrange(kept, removed);
  batch.lines.resize(kept);
  return removed;
}

// Stores what is left of `batch`.
grpc::Status Create(const Connection& connection, Batch& batch,
                    v1::BatchCreateLiveDataEntriesResponse& response) {
  v1::BatchCreateLiveDataEntriesRequest& request = batch.request;
  request.set_return_partial_success(true);
  // The line tells two batches of equal rows in one file apart.
  const std::string content = absl::StrCat(batch.lines.front(), ":", request.SerializeAsString());
  const auto create = [&](const std::string& request_id) {
    request.set_request_id(request_id);
    return connection.Call([&](grpc::ClientContext& context) {
      return connection.live_data().BatchCreateLiveDataEntries(&context, request, &response);
    });
  };
  const auto exists = [&] {
    // A site that is new cannot have lost what an earlier run stored.
    if (batch.older.empty() || response.live_data_entries().empty()) return grpc::Status::OK;
    v1::GetLiveDataEntryRequest get;
    get.set_site_id(response.live_data_entries(0).site_id());
    get.set_id(response.live_data_entries(0).id());
    return connection.Call([&](grpc::ClientContext& context) {
      v1::LiveDataEntry entry;
      return connection.live_data().GetLiveDataEntry(&context, get, &entry);
    });
  };
  return CreateOnce(content, create, exists);
}

Outcome Store(const Connection& connection, Batch batch) {
  Outcome outcome;
  outcome.fraction_read = batch.fraction_read;
  outcome.faults = std::move(batch.faults);
  outcome.counts.rows = batch.rows;
  outcome.counts.bad = batch.rows - batch.request.entries_size();
  const absl::StatusOr<int64_t> present = RemoveStored(connection, batch);
  if (!present.ok()) {
    outcome.status = present.status();
    return outcome;
  }
  outcome.counts.present = *present;
  if (batch.lines.empty()) return outcome;

  v1::BatchCreateLiveDataEntriesResponse response;
  const grpc::Status status = Create(connection, batch, response);
  if (!status.ok()) {
    outcome.status = ToAbslStatus(
        status, absl::StrCat("lines ", batch.lines.front(), " to ", batch.lines.back()));
    return outcome;
  }
  outcome.counts.created = response.live_data_entries_size();
  outcome.counts.bad += response.failed_requests_size();
  if (outcome.counts.created + response.failed_requests_size() != batch.request.entries_size()) {
    outcome.status = absl::InternalError(
        absl::StrCat("lines ", batch.lines.front(), " to ", batch.lines.back(), ": of ",
                     batch.request.entries_size(), " entries the service answered for ",
                     outcome.counts.created + response.failed_requests_size()));
    return outcome;
  }
  for (const auto& [index, failure] : response.failed_requests()) {
    std::vector<Fault> faults = FaultsOf(failure, batch.lines.at(index), kResource);
    std::move(faults.begin(), faults.end(), std::back_inserter(outcome.faults));
  }
  std::stable_sort(outcome.faults.begin(), outcome.faults.end(),
                   [](const Fault& a, const Fault& b) { return a.line < b.line; });
  return outcome;
}

// Adds `row` to `batch`, as an entry or as faults.
void AddRow(const CsvRow& row, const SiteIndex& sites, Batch& batch) {
  ++batch.rows;
  v1::LiveDataEntry entry;
  std::vector<Fault> faults = ReadRow(row, LiveDataColumns(), kResource, entry);
  absl::StatusOr<KnownSite> site = absl::NotFoundError("the row cannot be read");
  if (row.status.ok()) {
    site = sites.Find(row.fields.front());
    if (!site.ok()) {
      faults.push_back({row.line, absl::StrCat("site_name: ", site.status().message())});
    }
  }
  if (!faults.empty()) {
    std::move(faults.begin(), faults.end(), std::back_inserter(batch.faults));
    return;
  }
  entry.set_site_id(site->id);
  if (!site->made_by_this_run) {
    const int64_t seconds = entry.dt_stamp().seconds();
    Range& range = batch.older.emplace(site->id, Range{seconds, seconds}).first->second;
    range.first = std::min(range.first, seconds);
    range.last = std::max(range.last, seconds);
  }
  *batch.request.add_entries() = std::move(entry);
  batch.lines.push_back(row.line);
}

// Whether a batch ends before `next`. Batches end at the same rows in every run; rows of one
// moment stay together, because equal rows of two batches could not be told apart later.
bool EndsBefore(const Batch& batch, const CsvRow& last, const CsvRow& next) {
  if (batch.rows < kBatchRows) return false;
  if (batch.rows >= kMaxEntries || !last.status.ok() || !next.status.ok()) return true;
  constexpr size_t kStamp = 1;  // its place in LiveDataColumns
  return last.fields[kStamp] != next.fields[kStamp];
}

}  // namespace

absl::Status ImportLiveData(const Connection& connection, const SiteIndex& sites, CsvFile& file,
                            Progress& progress, Counts& counts) {
  std::deque<std::future<Outcome>> in_flight;
  absl::Status failed;
  const auto settle_oldest = [&] {
    const Outcome outcome = in_flight.front().get();
    in_flight.pop_front();
    counts.rows += outcome.counts.rows;
    counts.created += outcome.counts.created;
    counts.present += outcome.counts.present;
    counts.bad += outcome.counts.bad;
    for (const Fault& fault : outcome.faults) {
      progress.Print(absl::StrCat(file.path(), ":", fault.line, ": ", fault.text));
    }
    failed.Update(outcome.status);
    progress.Update(counts.rows, outcome.fraction_read, absl::Now());
  };
  const auto send = [&](Batch batch) {
    if (in_flight.size() == kBatchesInFlight) settle_oldest();
    batch.fraction_read = file.fraction_read();
    in_flight.push_back(
        std::async(std::launch::async, [&connection, batch = std::move(batch)]() mutable {
          return Store(connection, std::move(batch));
        }));
  };

  Batch batch;
  CsvRow last;
  while (failed.ok()) {
    absl::StatusOr<std::optional<CsvRow>> row = file.Next();
    failed.Update(row.status());
    if (!row.ok() || !row->has_value()) break;
    if (EndsBefore(batch, last, **row)) send(std::exchange(batch, Batch()));
    AddRow(**row, sites, batch);
    last = **std::move(row);
  }
  // A broken file or service keeps nobody from what was read before.
  if (batch.rows > 0) send(std::move(batch));
  while (!in_flight.empty()) settle_oldest();
  return failed;
}

}  // namespace energysites
