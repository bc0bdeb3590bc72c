#include "storage/inserts/shared_insert_state.h"

#include <algorithm>

#include "google/protobuf/empty.pb.h"
#include "storage/live_data/live_data_id.h"
#include "storage/postgres/query.h"
#include "storage/postgres/sql_errors.h"

namespace energysites::storage {
namespace {

using google::protobuf::Empty;

// The INCREMENT of the sequence.
constexpr int64_t kBlockSize = 1000;

// Each attempt waits up to the 200 ms of make_live_data_month's lock_timeout.
constexpr int kMonthAttempts = 25;

constexpr Statement kTakeBlocks = {"take_live_data_numbers", R"sql(
  SELECT nextval('live_data_numbers') AS first FROM generate_series(1, $1::bigint)
)sql"};

constexpr Statement kMakeMonth = {"make_live_data_month", R"sql(
  SELECT make_live_data_month($1)
)sql"};

absl::Status MakeMonth(Session& session, int64_t month) {
  const Moment begin = RangeOfMonth(month).begin;
  absl::Status status;
  for (int i = 0; i < kMonthAttempts; ++i) {
    status = session
                 .Autocommit([&](pqxx::nontransaction& tx) -> absl::StatusOr<Empty> {
                   Query(tx, kMakeMonth, {begin});
                   return Empty();
                 })
                 .status();
    if (!absl::IsAborted(status)) break;
  }
  return status;
}

}  // namespace

Statements SharedInsertState::AllStatements() { return {&kTakeBlocks, &kMakeMonth}; }

std::vector<int64_t> SharedInsertState::TakeNumbers(pqxx::transaction_base& tx, size_t count) {
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
    if (numbers.size() == count) break;
    const size_t missing = count - numbers.size();
    const auto blocks = static_cast<int64_t>((missing + kBlockSize - 1) / kBlockSize);
    const Rows rows = Query(tx, kTakeBlocks, {blocks});
    const std::lock_guard<std::mutex> lock(mutex_);
    for (int row = 0; row < rows.size(); ++row) {
      const int64_t first = rows.Int64(row, 0);
      blocks_.emplace_back(first, first + kBlockSize);
    }
  }
  // Blocks that sessions reserve at the same time can come in any order.
  std::sort(numbers.begin(), numbers.end());
  return numbers;
}

bool SharedInsertState::KnowsMonth(int64_t month) {
  const std::lock_guard<std::mutex> lock(mutex_);
  return months_.count(month) > 0;
}

absl::StatusOr<Months> SharedInsertState::MakeMonths(Session& session, const Months& months) {
  Months expired;
  for (const int64_t month : months) {
    if (KnowsMonth(month)) continue;
    const absl::Status made = MakeMonth(session, month);
    if (IsEntryNoLongerKept(made)) {
      expired.insert(month);
      continue;
    }
    if (!made.ok()) return made;
    const std::lock_guard<std::mutex> lock(mutex_);
    months_.insert(month);
  }
  return expired;
}

void SharedInsertState::ForgetMonths() {
  const std::lock_guard<std::mutex> lock(mutex_);
  months_.clear();
}

}  // namespace energysites::storage
