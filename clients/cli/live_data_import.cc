#include "clients/cli/live_data_import.h"

#include <google/protobuf/util/time_util.h>

#include <algorithm>
#include <deque>
#include <future>
#include <iterator>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "clients/cli/ingest.h"
#include "clients/cli/request_id.h"
#include "clients/cli/rows.h"

namespace energysites {
namespace {

using google::protobuf::util::TimeUtil;

constexpr absl::string_view kResource = "live_data_entry";
constexpr int kBatchRows = 5000;
constexpr int kMaxEntries = 10000;  // of a batch, by the contract
// Few, so that other clients are not delayed.
constexpr size_t kMaxConcurrentComparisons = 4;

// The range of `dt_stamp` of a site in a batch, in seconds, both inclusive.
struct Range {
  int64_t first = 0;
  int64_t last = 0;
};

struct Batch {
  int64_t rows = 0;
  int64_t unreadable = 0;  // number of these rows that have `faults`
  std::vector<Fault> faults;
  v1::IngestBatch request;
  int entries = 0;             // number of entries sent
  std::vector<int64_t> lines;  // by index in request.entries
  // By site that may have entries of an earlier run: where to compare with the stored entries.
  std::map<int64_t, Range> compared_ranges;
  double fraction_read = 0;  // of the file, at the end of this batch
};

// A batch without the entries that were already stored.
struct ComparedBatch {
  Batch batch;
  int64_t present = 0;
  absl::Status status;
};

// Entries are equal if all columns of the file are, with `dt_stamp` truncated to microseconds. The
// serialized message cannot be compared: it has output fields, and a newer service may add fields.
std::string KeyOf(v1::LiveDataEntry entry) {
  google::protobuf::Timestamp& stamp = *entry.mutable_dt_stamp();
  stamp.set_nanos(stamp.nanos() / 1000 * 1000);
  return absl::StrCat(entry.site_id(), ":", WriteRow(entry, LiveDataColumns(), ""));
}

// Increments the count in `stored` of each stored entry of the site whose key is in `stored`.
grpc::Status CountStored(const Connection& connection, int64_t site_id, Range range,
                         absl::flat_hash_map<std::string, int>& stored) {
  v1::ListLiveDataEntriesRequest request;
  request.set_site_id(site_id);
  request.set_page_size(1000);
  request.set_order_by("dt_stamp");
  // A bound outside the valid range of a timestamp is omitted.
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
    // An unknown site has no stored entries. The service rejects its entries when they are sent.
    if (status.error_code() == grpc::StatusCode::NOT_FOUND) return grpc::Status::OK;
    if (!status.ok()) return status;
    for (v1::LiveDataEntry& entry : *page.mutable_live_data_entries()) {
      const auto found = stored.find(KeyOf(std::move(entry)));
      if (found != stored.end()) ++found->second;
    }
    request.set_page_token(page.next_page_token());
  } while (!request.page_token().empty());
  return grpc::Status::OK;
}

// Removes the stored entries from `batch` and returns their number.
absl::StatusOr<int64_t> RemoveStored(const Connection& connection, Batch& batch) {
  if (batch.compared_ranges.empty()) return 0;
  absl::flat_hash_map<std::string, int> stored;
  std::vector<std::string> keys;
  for (const v1::LiveDataEntry& entry : batch.request.entries()) {
    keys.push_back(KeyOf(entry));
    if (batch.compared_ranges.count(entry.site_id()) != 0) stored.emplace(keys.back(), 0);
  }
  for (const auto& [site_id, range] : batch.compared_ranges) {
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

ComparedBatch Compare(const Connection& connection, Batch batch) {
  ComparedBatch compared;
  const absl::StatusOr<int64_t> present = RemoveStored(connection, batch);
  compared.status = present.status();
  if (present.ok()) compared.present = *present;
  compared.batch = std::move(batch);
  return compared;
}

// Adds `row` to `batch` as an entry or as errors.
void AddRow(const CsvRow& row, const SiteIndex& sites, Batch& batch) {
  ++batch.rows;
  v1::LiveDataEntry entry;
  std::vector<Fault> faults = ReadRow(row, LiveDataColumns(), kResource, entry);
  absl::StatusOr<KnownSite> site = absl::NotFoundError("the row cannot be read");
  if (row.status.ok()) {
    const std::string& name = row.fields[kSiteNameColumn];
    const std::string& id = row.fields[kSiteIdColumn];
    site = id.empty() ? sites.Find(name) : sites.FindId(id);
    if (!site.ok()) {
      faults.push_back({row.line, absl::StrCat(id.empty() ? "site_name: " : "site_id: ",
                                               site.status().message())});
    }
  }
  if (!faults.empty()) {
    ++batch.unreadable;
    std::move(faults.begin(), faults.end(), std::back_inserter(batch.faults));
    return;
  }
  entry.set_site_id(site->id);
  if (!site->created_by_this_run) {
    const int64_t seconds = entry.dt_stamp().seconds();
    Range& range = batch.compared_ranges.emplace(site->id, Range{seconds, seconds}).first->second;
    range.first = std::min(range.first, seconds);
    range.last = std::max(range.last, seconds);
  }
  *batch.request.add_entries() = std::move(entry);
  batch.lines.push_back(row.line);
}

// Whether a batch ends before `next`. Batches end at the same rows in every run. Rows with the same
// `dt_stamp` are in one batch, because equal rows in two batches cannot be distinguished later.
bool EndsBefore(const Batch& batch, const CsvRow& last, const CsvRow& next) {
  if (batch.rows < kBatchRows) return false;
  if (batch.rows >= kMaxEntries || !last.status.ok() || !next.status.ok()) return true;
  constexpr size_t kStamp = 1;  // index in LiveDataColumns
  return last.fields[kStamp] != next.fields[kStamp];
}

// The same name for every run with a file: a run takes over the session of an earlier run, which
// then cannot store further entries.
std::string SessionOf(const Batch& first) {
  return absl::StrCat("import-", RequestId(first.request.SerializeAsString(), 0));
}

// Reads one file, compares several batches at a time with the stored entries, and sends the rest.
class LiveDataImport {
 public:
  LiveDataImport(const Connection& connection, const SiteIndex& sites, CsvFile& file,
                 Progress& progress, Counts& counts)
      : connection_(connection), sites_(sites), file_(file), progress_(progress), counts_(counts) {}

  absl::Status Run() {
    next_batch_ = Read();
    if (next_batch_.rows == 0) return failed_;
    const absl::Status sent =
        Ingest(connection_, SessionOf(next_batch_),
               {[this] { return Next(); },
                [this](const v1::RefusedEntries& refused) { HandleStored(refused); }});
    failed_.Update(sent);
    return failed_;
  }

 private:
  // Returns the next rows of the file; an empty batch at its end.
  Batch Read();
  // Returns the next batch that has new entries; nothing at the end.
  std::optional<v1::IngestBatch> Next();
  // Called when the oldest sent batch is stored, without the entries in `refused`.
  void HandleStored(const v1::RefusedEntries& refused);
  // Counts a finished batch and prints the errors of its rows.
  void Report(const Batch& batch, const v1::RefusedEntries& refused);

  const Connection& connection_;
  const SiteIndex& sites_;
  CsvFile& file_;
  Progress& progress_;
  Counts& counts_;
  absl::Status failed_;
  std::optional<CsvRow> last_row_, next_row_;  // `next_row_` is read, but not in a batch yet.
  Batch next_batch_;
  std::deque<std::future<ComparedBatch>> compared_;
  std::deque<Batch> sent_;  // Without their entries.
};

Batch LiveDataImport::Read() {
  Batch batch;
  while (failed_.ok()) {
    if (!next_row_.has_value()) {
      absl::StatusOr<std::optional<CsvRow>> row = file_.Next();
      // The rows before a read error are still stored.
      failed_.Update(row.status());
      if (!row.ok() || !row->has_value()) break;
      next_row_ = **std::move(row);
    }
    if (batch.rows > 0 && EndsBefore(batch, *last_row_, *next_row_)) break;
    AddRow(*next_row_, sites_, batch);
    last_row_ = std::exchange(next_row_, std::nullopt);
  }
  batch.fraction_read = file_.fraction_read();
  return batch;
}

std::optional<v1::IngestBatch> LiveDataImport::Next() {
  while (true) {
    while (next_batch_.rows > 0 && compared_.size() < kMaxConcurrentComparisons) {
      compared_.push_back(std::async(std::launch::async, Compare, std::cref(connection_),
                                     std::exchange(next_batch_, Batch())));
      next_batch_ = Read();
    }
    if (compared_.empty()) return std::nullopt;
    ComparedBatch compared = compared_.front().get();
    compared_.pop_front();
    if (!compared.status.ok()) {
      failed_ = compared.status;
      return std::nullopt;
    }
    counts_.present += compared.present;
    v1::IngestBatch request;
    request.Swap(&compared.batch.request);
    compared.batch.entries = request.entries_size();
    sent_.push_back(std::move(compared.batch));
    if (request.entries_size() > 0) return request;
    // Nothing to send, but its errors are printed in the order of the file.
    if (sent_.size() == 1) HandleStored({});
  }
}

void LiveDataImport::HandleStored(const v1::RefusedEntries& refused) {
  Report(sent_.front(), refused);
  sent_.pop_front();
  while (!sent_.empty() && sent_.front().entries == 0) {
    Report(sent_.front(), {});
    sent_.pop_front();
  }
}

void LiveDataImport::Report(const Batch& batch, const v1::RefusedEntries& refused) {
  std::vector<Fault> faults = batch.faults;
  for (const auto& [index, failure] : refused.failed_entries()) {
    const std::vector<Fault> found = FaultsOf(failure, batch.lines.at(index), kResource);
    faults.insert(faults.end(), found.begin(), found.end());
  }
  std::stable_sort(faults.begin(), faults.end(),
                   [](const Fault& a, const Fault& b) { return a.line < b.line; });
  for (const Fault& fault : faults) {
    progress_.Print(absl::StrCat(file_.path(), ":", fault.line, ": ", fault.text));
  }
  const int listed = refused.failed_entries_size();
  if (listed < refused.failed_count()) {
    progress_.Print(absl::StrCat(file_.path(), ":", batch.lines.front(), " to ", batch.lines.back(),
                                 ": ", refused.failed_count() - listed, " more bad rows"));
  }
  counts_.rows += batch.rows;
  counts_.created += batch.entries - refused.failed_count();
  counts_.bad += batch.unreadable + refused.failed_count();
  progress_.Update(counts_.rows, batch.fraction_read, absl::Now());
}

}  // namespace

absl::Status ImportLiveData(const Connection& connection, const SiteIndex& sites, CsvFile& file,
                            Progress& progress, Counts& counts) {
  return LiveDataImport(connection, sites, file, progress, counts).Run();
}

}  // namespace energysites
