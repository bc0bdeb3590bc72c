// What all sessions of a process share for writing live data: numbers for ids, and which months
// are known to have their partition.
#ifndef STORAGE_INSERTS_LIVE_DATA_ALLOCATOR_H_
#define STORAGE_INSERTS_LIVE_DATA_ALLOCATOR_H_

#include <cstdint>
#include <deque>
#include <mutex>
#include <set>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "storage/postgres/session.h"
#include "storage/postgres/statement.h"

namespace energysites::storage {

// Safe from any thread.
class LiveDataAllocator {
 public:
  static Statements AllStatements();

  // `count` numbers that no one else gets, in this cluster, ever. Asks the database only when the
  // block at hand runs out. Those that a failed call took are lost, which leaves gaps.
  std::vector<int64_t> TakeNumbers(pqxx::transaction_base& tx, size_t count);

  // Whether the month is known to have its partition.
  bool KnowsMonth(int64_t month);

  // Makes the partitions of these months (as of MonthOf) that are not known to exist, each in a
  // transaction of its own. Returns ABORTED if one could not be made for other work on the table.
  absl::Status MakeMonths(Session& session, const std::set<int64_t>& months);

  // Forgets which months exist: after an insert that found one missing.
  void ForgetMonths();

 private:
  std::mutex mutex_;
  std::deque<std::pair<int64_t, int64_t>> blocks_;  // [first, end)
  std::set<int64_t> months_;
};

}  // namespace energysites::storage

#endif  // STORAGE_INSERTS_LIVE_DATA_ALLOCATOR_H_
