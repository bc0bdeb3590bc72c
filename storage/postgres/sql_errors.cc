#include "storage/postgres/sql_errors.h"

#include <exception>
#include <typeinfo>

#include "absl/strings/cord.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "storage/errors/errors.h"

namespace energysites::storage {
namespace {

// The payload with the SQLSTATE of a status. Never sent to a caller.
constexpr char kSqlStateUrl[] = "energysites/sqlstate";

// The payload with the text for the log. Never sent to a caller.
constexpr char kFaultUrl[] = "energysites/fault";

constexpr char kMissingPartitionUrl[] = "energysites/missing-partition";

// The first line only: the DETAIL below it can hold values that callers sent.
absl::string_view FirstLine(absl::string_view text) { return text.substr(0, text.find('\n')); }

absl::Status WithFault(absl::Status status, const std::exception& error) {
  status.SetPayload(kFaultUrl, absl::Cord(FirstLine(error.what())));
  return status;
}

// Whether the error is of libpq, which lost the connection. Errors of the server have an SQLSTATE,
// which libpqxx leaves out where it has a type for the error.
bool IsOfLibpq(const pqxx::sql_error& error) {
  return error.sqlstate().empty() && typeid(error) == typeid(pqxx::sql_error);
}

absl::Status StatusFromSqlError(const pqxx::sql_error& error) {
  const std::string& state = error.sqlstate();
  absl::Status status;
  if (IsOfLibpq(error) || absl::StartsWith(state, "08") || absl::StartsWith(state, "57P") ||
      state == "53300" || state == "25006") {
    // Connection lost, server stopping or starting, out of connections, or a read-only standby.
    status = DatabaseUnavailable("the database accepts no connections");
  } else if (state == "57014") {
    status = absl::DeadlineExceededError(
        "the database exceeded the statement timeout; the call was cancelled");
  } else if (state == "55P03" || state == "40001" || state == "40P01" || state == "23505") {
    status = Conflict();
  } else if (state == "ES001") {
    // From our own functions, refuse_live_data_entry and make_live_data_month.
    status = EntryNoLongerKept();
  } else if (absl::StartsWith(state, "53") ||
             dynamic_cast<const pqxx::insufficient_resources*>(&error) != nullptr) {
    status = DatabaseUnavailable("the database is out of resources");
  } else {
    status = absl::InternalError(
        absl::StrCat(state, ": ", FirstLine(error.what()), " in ", error.query()));
  }
  if (absl::IsUnavailable(status)) status = WithFault(std::move(status), error);
  status.SetPayload(kSqlStateUrl, absl::Cord(state));
  return status;
}

}  // namespace

std::string SqlStateOf(const absl::Status& status) {
  const auto state = status.GetPayload(kSqlStateUrl);
  return state.has_value() ? std::string(*state) : "";
}

absl::Status StatusFromException() {
  try {
    throw;
  } catch (const pqxx::broken_connection& error) {
    return WithFault(DatabaseUnavailable("the connection to the database was lost"), error);
  } catch (const pqxx::in_doubt_error& error) {
    return WithFault(
        DatabaseUnavailable("the connection to the database was lost during the commit"), error);
  } catch (const MissingPartition& error) {
    absl::Status status = StatusFromSqlError(error);
    status.SetPayload(kMissingPartitionUrl, absl::Cord());
    return status;
  } catch (const pqxx::sql_error& error) {
    return StatusFromSqlError(error);
  } catch (const pqxx::transaction_rollback& error) {
    absl::Status status = Conflict();
    const bool deadlock = dynamic_cast<const pqxx::deadlock_detected*>(&error) != nullptr;
    status.SetPayload(kSqlStateUrl, absl::Cord(deadlock ? "40P01" : "40001"));
    return status;
  } catch (const std::exception& error) {
    return absl::InternalError(error.what());
  }
}

std::string FaultText(const absl::Status& status) {
  const auto fault = status.GetPayload(kFaultUrl);
  return fault.has_value() ? std::string(*fault) : std::string(status.message());
}

bool IsRetryable(const absl::Status& status) {
  const std::string state = SqlStateOf(status);
  return state == "40001" || state == "40P01" || state == "23505";
}

bool IsLockConflict(const absl::Status& status) {
  const std::string state = SqlStateOf(status);
  return state == "55P03" || state == "40P01";
}

bool IsEntryNoLongerKept(const absl::Status& status) { return SqlStateOf(status) == "ES001"; }

bool IsFaultOfEntry(const absl::Status& status) {
  const std::string state = SqlStateOf(status);
  if (state == "23505" || IsMissingPartition(status)) return false;
  // Values that no column of the type holds, and those that a constraint forbids.
  return absl::StartsWith(state, "22") || absl::StartsWith(state, "23");
}

bool IsMissingPartition(const absl::Status& status) {
  return status.GetPayload(kMissingPartitionUrl).has_value();
}

}  // namespace energysites::storage
