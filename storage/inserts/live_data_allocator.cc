#include "storage/inserts/live_data_allocator.h"

#include <algorithm>

#include "google/protobuf/empty.pb.h"
#include "storage/live_data/live_data_id.h"
#include "storage/postgres/query.h"

namespace energysites::storage {
namespace {

using google::protobuf::Empty;

// As the sequence's INCREMENT.
constexpr int64_t kBlockSize = 1000;

// Each try waits up to the 200 ms of make_live_data_month's lock_timeout.
constexpr int kMonthTries = 25;

constexpr Statement kTakeBlocks = {"take_live_data_numbers", R"sql(
  SELECT nextval('live_data_numbers') AS first FROM generate_series(1, $1::bigint)
)sql"};

constexpr Statement kMakeMonth = {"make_live_data_month", R"sql(
  SELECT make_live_data_month($1)
)sql"};

}  // namespace

Statements LiveDataAllocator::AllStatements() { return {&kTakeBlocks, &kMakeMonth}; }

std::vector<int64_t> LiveDataAllocator::TakeNumbers(pqxx::transaction_base& tx, size_t count) {
  std::vector<int64_t> numbers;
  numbers.reserve(count);
  while (true) {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      while (numbers.size() < count && !blocks_.empty()) {
        auto& [first, end] = blocks_.front();
        numbers.push_back(first++);
        if (first == end) blocks_.pop_front();
      }
    }
    if (numbers.size() == count) return numbers;
    const size_t missing = count - numbers.size();
    const auto blocks = static_cast<int64_t>((missing + kBlockSize - 1) / kBlockSize);
    const Rows rows = Query(tx, kTakeBlocks, {blocks});
    const std::lock_guard<std::mutex> lock(mutex_);
    for (int row = 0; row < rows.size(); ++row) {
      const int64_t first = rows.Int64(row, 0);
      blocks_.emplace_back(first, first + kBlockSize);
    }
  }
}

bool LiveDataAllocator::KnowsMonth(int64_t month) {
  const std::lock_guard<std::mutex> lock(mutex_);
  return months_.count(month) > 0;
}

absl::Status LiveDataAllocator::MakeMonths(Session& session, const std::set<int64_t>& months) {
  std::vector<int64_t> unknown;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    std::set_difference(months.begin(), months.end(), months_.begin(), months_.end(),
                        std::back_inserter(unknown));
  }
  for (const int64_t month : unknown) {
    const Moment begin = RangeOfMonth(month).begin;
    absl::Status status = absl::AbortedError("not tried yet");
    for (int i = 0; i < kMonthTries && absl::IsAborted(status); ++i) {
      status = session
                   .Autocommit([&](pqxx::nontransaction& tx) -> absl::StatusOr<Empty> {
                     Query(tx, kMakeMonth, {begin});
                     return Empty();
                   })
                   .status();
    }
    if (!status.ok()) return status;
    const std::lock_guard<std::mutex> lock(mutex_);
    months_.insert(month);
  }
  return absl::OkStatus();
}

void LiveDataAllocator::ForgetMonths() {
  const std::lock_guard<std::mutex> lock(mutex_);
  months_.clear();
}

}  // namespace energysites::storage
