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
constexpr int kMaxEntries = 10000;  // what a call may carry
// At once; few enough to leave the service to others.
constexpr size_t kBatchesCompared = 4;

// Seconds, first and last, in which a site has entries in a batch.
struct Range {
  int64_t first = 0;
  int64_t last = 0;
};

struct Batch {
  int64_t rows = 0;
  int64_t unreadable = 0;  // of these; what is wrong with them is in `faults`
  std::vector<Fault> faults;
  v1::IngestBatch request;
  int entries = 0;                 // sent of `request`
  std::vector<int64_t> lines;      // of request.entries
  std::map<int64_t, Range> older;  // the sites that may have entries of an earlier run
  double fraction_read = 0;        // of the file, at this batch's end
};

// A batch whose new entries are known: what is left of it is to be stored.
struct Compared {
  Batch batch;
  int64_t present = 0;
  absl::Status status;
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
    // Nothing is stored of a site that is not there; its entries are refused when they are sent.
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

// Takes the entries that are stored out of `batch`, and returns how many.
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

Compared Compare(const Connection& connection, Batch batch) {
  Compared compared;
  const absl::StatusOr<int64_t> present = RemoveStored(connection, batch);
  compared.status = present.status();
  if (present.ok()) compared.present = *present;
  compared.batch = std::move(batch);
  return compared;
}

// Adds `row` to `batch`, as an entry or as faults.
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

// The same for each run with a file, so that a run takes the session of an earlier one over, which
// then stores no more.
std::string SessionOf(const Batch& first) {
  return absl::StrCat("import-", RequestId(first.request.SerializeAsString(), 0));
}

// One file on its way: read, compared with what is stored, several batches at a time, and sent.
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
                [this](const v1::RefusedEntries& refused) { Settle(refused); }});
    failed_.Update(sent);
    return failed_;
  }

 private:
  // The next rows of the file; none at its end.
  Batch Read();
  // What is left of the next batch of which anything is left.
  std::optional<v1::IngestBatch> Next();
  // The oldest batch that was sent is stored, but for `refused`.
  void Settle(const v1::RefusedEntries& refused);
  // Counts a batch that is done, and prints the faults of its rows.
  void Tell(const Batch& batch, const v1::RefusedEntries& refused);

  const Connection& connection_;
  const SiteIndex& sites_;
  CsvFile& file_;
  Progress& progress_;
  Counts& counts_;
  absl::Status failed_;
  std::optional<CsvRow> last_row_, next_row_;  // The next one is read, but in no batch yet.
  Batch next_batch_;
  std::deque<std::future<Compared>> compared_;
  std::deque<Batch> sent_;  // Without their entries.
};

Batch LiveDataImport::Read() {
  Batch batch;
  while (failed_.ok()) {
    if (!next_row_.has_value()) {
      absl::StatusOr<std::optional<CsvRow>> row = file_.Next();
      // A broken file keeps nobody from what was read before.
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
    while (next_batch_.rows > 0 && compared_.size() < kBatchesCompared) {
      compared_.push_back(std::async(std::launch::async, Compare, std::cref(connection_),
                                     std::exchange(next_batch_, Batch())));
      next_batch_ = Read();
    }
    if (compared_.empty()) return std::nullopt;
    Compared compared = compared_.front().get();
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
    // Nothing to send, but its faults come in the order of the file.
    if (sent_.size() == 1) Settle({});
  }
}

void LiveDataImport::Settle(const v1::RefusedEntries& refused) {
  Tell(sent_.front(), refused);
  sent_.pop_front();
  while (!sent_.empty() && sent_.front().entries == 0) {
    Tell(sent_.front(), {});
    sent_.pop_front();
  }
}

void LiveDataImport::Tell(const Batch& batch, const v1::RefusedEntries& refused) {
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
                                 ": ", refused.failed_count() - listed, " more rows are bad"));
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
