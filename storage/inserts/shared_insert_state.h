// What all sessions of a process share for inserting live data: numbers for ids, and the months
// whose partition is known to exist.
#ifndef STORAGE_INSERTS_SHARED_INSERT_STATE_H_
#define STORAGE_INSERTS_SHARED_INSERT_STATE_H_

#include <cstdint>
#include <deque>
#include <mutex>
#include <set>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "storage/postgres/session.h"
#include "storage/postgres/statement.h"

namespace energysites::storage {

// Months as of MonthOf.
using Months = std::set<int64_t>;

// Safe from any thread.
class SharedInsertState {
 public:
  static Statements AllStatements();

  // Returns `count` numbers, in ascending order, that are unique in the database. Queries it only
  // when the reserved block is used up. Numbers that a failed call took are not used again, which
  // leaves gaps.
  std::vector<int64_t> TakeNumbers(pqxx::transaction_base& tx, size_t count);

  // Whether the month is known to have its partition.
  bool KnowsMonth(int64_t month);

  // Makes the partitions of those `months` that are not known to exist, each in a transaction of
  // its own. Returns the months that are older than the retention period; these get no partition.
  // Returns ABORTED if other transactions on the table blocked it for too long.
  absl::StatusOr<Months> MakeMonths(Session& session, const Months& months);

  // Forgets which months exist: after an insert that found one missing or expired.
  void ForgetMonths();

 private:
  std::mutex mutex_;
  std::deque<std::pair<int64_t, int64_t>> blocks_;  // [first, end)
  Months months_;
};

}  // namespace energysites::storage

#endif  // STORAGE_INSERTS_SHARED_INSERT_STATE_H_
