// The partitions of live data, one a month: creates them in advance, moves the window, and drops
// old ones. Runs as the owner. Other transactions wait only shortly for any of this: a function
// that does not get its lock soon returns ABORTED, leaves a consistent state, and is to be called
// again.
#ifndef STORAGE_MAINTENANCE_LIVE_DATA_MONTHS_H_
#define STORAGE_MAINTENANCE_LIVE_DATA_MONTHS_H_

#include <string>

#include "absl/status/statusor.h"
#include "storage/postgres/session.h"
#include "storage/postgres/statement.h"

namespace energysites::storage {

Statements LiveDataMonthStatements();

// Each returns what was done, as text for operators; empty if there was nothing to do.

// Makes the partitions of this month and the next three.
absl::StatusOr<std::string> MakeMonthsAhead(Session& session);

// Moves the end of the window to two years from now, one month in each transaction. The entries of
// that month, which were too far in the future for a partition of their own, move to it.
absl::StatusOr<std::string> MoveWindow(Session& session);

// Drops the months before the retention cutoff, including those that an earlier run left half
// detached. Before each it recomputes and then freezes the rollups. The table is dropped only after
// the transactions that were reading it.
absl::StatusOr<std::string> DropOldMonths(Session& session);

// Deletes entries before the retention cutoff that are older than the first month of the window.
absl::StatusOr<std::string> DeletePastEntries(Session& session);

}  // namespace energysites::storage

#endif  // STORAGE_MAINTENANCE_LIVE_DATA_MONTHS_H_
