// The months of live data as tables: made ahead, moved into the window, dropped when they are old.
// As the owner. No other call waits for any of this for more than a moment: what cannot have its
// lock soon returns ABORTED, changes nothing that needs undoing, and is to be called again.
#ifndef STORAGE_MAINTENANCE_LIVE_DATA_MONTHS_H_
#define STORAGE_MAINTENANCE_LIVE_DATA_MONTHS_H_

#include <string>

#include "absl/status/statusor.h"
#include "storage/postgres/session.h"
#include "storage/postgres/statement.h"

namespace energysites::storage {

Statements LiveDataMonthStatements();

// Each returns what was done, for people to read; empty if there was nothing to do.

// Makes the partitions of this month and the next three.
absl::StatusOr<std::string> MakeMonthsAhead(Session& session);

// Moves the window's end on to two years ahead, a month in each transaction, and with it the
// entries that were too far in the future to have a month of their own.
absl::StatusOr<std::string> MoveWindow(Session& session);

// Drops the months whose entries are refused, those included that an earlier run left half
// detached. Before each the rollups are frozen, once they are up to date, which it sees to. A
// transaction that was reading when a month went sees it to its end, and the table waits for it.
absl::StatusOr<std::string> DropOldMonths(Session& session);

// Deletes entries that are refused by now from before the window's first month.
absl::StatusOr<std::string> DeletePastEntries(Session& session);

}  // namespace energysites::storage

#endif  // STORAGE_MAINTENANCE_LIVE_DATA_MONTHS_H_
