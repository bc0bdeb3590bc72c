#include "storage/postgres/session.h"

#include "absl/strings/str_cat.h"
#include "storage/postgres/sql_errors.h"

namespace energysites::storage {
namespace {

// The settings of every session, whatever those of the role or of the database are; one round trip.
//
// Planning a query of all partitions takes longer than running it, and partitions are pruned at run
// time, too. So a generic plan is made once for a connection. By default PostgreSQL would plan the
// first five runs anew, and further ones if it estimates their plans to be cheaper.
std::string Settings(const SessionOptions& options) {
  const auto milliseconds = [](absl::Duration d) { return absl::ToInt64Milliseconds(d); };
  return absl::StrCat(
      "SET search_path = public, pg_temp; SET timezone = 'UTC'; SET synchronous_commit = on"
      "; SET default_transaction_isolation = 'read committed'; SET extra_float_digits = 1"
      "; SET jit = off"  // It compiles for longer than any statement of ours runs.
      "; SET plan_cache_mode = force_generic_plan; SET enable_seqscan = ",
      options.scans_tables ? "on" : "off",
      "; SET statement_timeout = ", milliseconds(options.statement_timeout),
      "; SET lock_timeout = ", milliseconds(options.lock_timeout),
      "; SET idle_in_transaction_session_timeout = ",
      milliseconds(options.idle_in_transaction_timeout));
}

}  // namespace

Connection& Session::Connect() {
  if (connection_ != nullptr && connection_->IsReady()) return *connection_;
  Lose();
  if (locks_lost_) throw pqxx::broken_connection("the connection was lost, and its locks with it");
  Replace(std::make_unique<Connection>(options_.dsn, options_.silence_watch,
                                       absl::ToChronoMilliseconds(options_.silence_limit)));
  try {
    SetUp(*connection_);
  } catch (...) {
    Replace(nullptr);
    throw;
  }
  return *connection_;
}

bool Session::TryConnect() {
  try {
    if (!connected()) Connect();
  } catch (const std::exception&) {
    // The next transaction returns what is wrong.
  }
  return connected();
}

void Session::SetUp(Connection& connection) {
  const Connection::Waiting waiting(connection, true);
  pqxx::nontransaction(connection).exec(Settings(options_));
}

void Session::Replace(std::unique_ptr<Connection> connection) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    connection_.swap(connection);
  }
  // The old one is closed here, without the lock.
}

void Session::Lose() {
  if (connection_ == nullptr) return;
  locks_lost_ = options_.holds_locks;
  if (options_.on_connection_lost != nullptr) options_.on_connection_lost();
  Replace(nullptr);
}

absl::Status Session::Fail() {
  absl::Status status = StatusFromException();
  const bool abandoned = connection_ != nullptr && connection_->abandoned();
  if (abandoned) status = DatabaseSilent();
  // libpqxx would reconnect by itself, as a session without our settings.
  if (abandoned || absl::IsUnavailable(status)) Lose();
  // A connection that reads the list of partitions while two months are attached can keep a list
  // without the second one, until another month is attached.
  if (IsMissingPartition(status)) Replace(nullptr);
  return cancelled_ ? absl::CancelledError("call cancelled by the client") : status;
}

void Session::Cancel() {
  const std::lock_guard<std::mutex> lock(mutex_);
  cancelled_ = true;
  if (connection_ == nullptr) return;
  if (cancel_request_ != nullptr && !cancel_request_->done()) return;
  cancel_request_ = CancelRequest::Send(connection_->raw());
}

void Session::Abandon() {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (connection_ != nullptr) connection_->Abandon();
}

void Session::Begin() {
  std::shared_ptr<CancelRequest> request;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    request.swap(cancel_request_);
  }
  if (request != nullptr && !request->Wait()) Lose();
  cancelled_ = false;
  locks_lost_ = false;
}

}  // namespace energysites::storage
