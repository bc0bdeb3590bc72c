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

// To be called inside a catch block: the current exception as a status for the caller. The text of
// an INTERNAL status is for the log only.
absl::Status StatusFromException();

// The text of `status` for the log: the message of the database or of libpq, where callers get
// another text, else the status's own message.
std::string FaultText(const absl::Status& status);

// Whether the whole transaction should be tried once more: after a deadlock, a serialization
// failure, or a lost race for a request_id.
bool IsRetryable(const absl::Status& status);

// Whether the transaction was blocked by others: a lock timeout or a deadlock.
bool IsLockConflict(const absl::Status& status);

// Whether the database refused an entry that is too old to be kept.
bool IsEntryNoLongerKept(const absl::Status& status);

// Whether an insert failed because of the values of an entry, so that it may succeed without it.
bool IsFaultOfEntry(const absl::Status& status);

// Whether an insert failed because its connection knows no partition for the month: there is none,
// or the connection's list of partitions is incomplete. The session has dropped the connection.
bool IsMissingPartition(const absl::Status& status);

// The SQLSTATE behind `status`; empty if there is none.
std::string SqlStateOf(const absl::Status& status);

}  // namespace energysites::storage

#endif  // STORAGE_POSTGRES_SQL_ERRORS_H_
