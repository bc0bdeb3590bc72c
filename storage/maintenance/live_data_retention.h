// The retention cutoff: entries before it are refused, and their months dropped. Runs as the owner.
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

// Compares the cutoff that `retention` gives, before which months are wholly older, with the
// current one, and moves the current one:
// - forward, if an earlier check at least an hour ago gave a later cutoff, too. Checks are stored
// in
//   the database. After a change of `retention` the next check is a first one.
// - back, at once; but not before months that were dropped.
//
// A check is valid only if the database's clock agrees with this machine's, and has advanced since
// the earlier check as much as the time since boot did, if that check was made on this machine
// since it was booted.
//
// Returns what was done, empty if nothing is due; ABORTED while it waits, or if it did not get its
// locks; FAILED_PRECONDITION, see IsClockJump, and then the next check is a first one.
absl::StatusOr<std::string> ApplyRetention(Session& session, absl::Duration retention);

// Whether `status` says that a clock jumped, or that clocks differ.
bool IsClockJump(const absl::Status& status);

}  // namespace energysites::storage

#endif  // STORAGE_MAINTENANCE_LIVE_DATA_RETENTION_H_
