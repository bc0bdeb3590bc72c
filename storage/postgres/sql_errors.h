// What the database's errors mean for callers. Recognised by type and SQLSTATE, never by text.
#ifndef STORAGE_POSTGRES_SQL_ERRORS_H_
#define STORAGE_POSTGRES_SQL_ERRORS_H_

#include <pqxx/pqxx>
#include <string>

#include "absl/status/status.h"

namespace energysites::storage {

// An insert for which the connection knows no partition. SQLSTATE 23514 is a broken CHECK, too, but
// that one names its constraint.
struct MissingPartition final : pqxx::sql_error {
  using pqxx::sql_error::sql_error;
};

// Call inside a catch block: what the exception in flight means for the caller. The text of an
// INTERNAL status is for the log only.
absl::Status StatusFromException();

// What to log of `status`: what the database or libpq said of it, where callers are told less, else
// its message.
std::string FaultText(const absl::Status& status);

// Whether the exception behind `status` is worth one more try of the whole transaction: a
// deadlock, a serialization failure, or a lost race for a request_id.
bool IsRetryable(const absl::Status& status);

// Whether other transactions were in the way: a lock was not got in time, or there was a deadlock.
bool IsLockConflict(const absl::Status& status);

// Whether the database refused an entry that is too old to be kept.
bool IsEntryNoLongerKept(const absl::Status& status);

// Whether an insert failed because of what an entry holds, so that it may succeed without that one.
bool IsFaultOfEntry(const absl::Status& status);

// Whether an insert failed because its connection knew no partition for the month: there is none,
// or the connection's list of partitions is incomplete. The session has dropped the connection.
bool IsMissingPartition(const absl::Status& status);

// The SQLSTATE behind `status`; empty if there is none.
std::string SqlStateOf(const absl::Status& status);

}  // namespace energysites::storage

#endif  // STORAGE_POSTGRES_SQL_ERRORS_H_
