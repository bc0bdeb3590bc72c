// The retention cutoff: entries before it are refused, and their months dropped. As the owner.
#ifndef STORAGE_MAINTENANCE_LIVE_DATA_RETENTION_H_
#define STORAGE_MAINTENANCE_LIVE_DATA_RETENTION_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "storage/postgres/session.h"
#include "storage/postgres/statement.h"

namespace energysites::storage {

Statements LiveDataRetentionStatements();

// Looks at what `retention` makes due, months that are wholly older, and moves the cutoff:
// - forward to what was due in an earlier look, too, at least an hour ago. Looks are kept in the
//   database. A changed `retention` starts with a new first look.
// - back where less is due than is refused, at once; but not behind months that were dropped.
//
// A look counts only if the database's clock agrees with this machine's, and has advanced since the
// earlier look as much as the time since boot did, where that look was made on this machine since
// it was booted.
//
// Returns what was done, empty if nothing is due; ABORTED while it waits, or if it did not get its
// locks; FAILED_PRECONDITION as IsClockJump says, and the next look is then a first one.
absl::StatusOr<std::string> ApplyRetention(Session& session, absl::Duration retention);

// Whether `status` says that a clock jumped, or that clocks differ.
bool IsClockJump(const absl::Status& status);

}  // namespace energysites::storage

#endif  // STORAGE_MAINTENANCE_LIVE_DATA_RETENTION_H_
