#include "storage/database_monitor.h"

#include <poll.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"

namespace energysites::storage {
namespace {

constexpr absl::Duration kPatience = absl::Seconds(3);
constexpr std::chrono::milliseconds kPauseWhileUp(1000);
constexpr std::chrono::milliseconds kPauseWhileAway(250);

constexpr char kAskVersion[] = "SELECT coalesce(max(version), 0) FROM public.schema_migrations";

absl::Status Problem(PGconn* connection) {
  absl::string_view text = PQerrorMessage(connection);
  return absl::UnavailableError(absl::StripSuffix(text, "\n"));
}

// Waits until the socket is ready for `events`; false once `deadline` has passed.
bool Wait(PGconn* connection, short events, absl::Time deadline) {
  pollfd descriptor = {PQsocket(connection), events, 0};
  const int64_t left = absl::ToInt64Milliseconds(deadline - absl::Now());
  return poll(&descriptor, 1, static_cast<int>(std::max<int64_t>(left, 0))) > 0;
}

absl::Status NoAnswer() { return absl::UnavailableError("the database does not answer"); }

}  // namespace

DatabaseMonitor::DatabaseMonitor(std::string dsn, int schema_version, OnLook on_look)
    : dsn_(std::move(dsn)),
      schema_version_(schema_version),
      on_look_(std::move(on_look)),
      thread_([this] { Watch(); }) {}

DatabaseMonitor::~DatabaseMonitor() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stopping_ = true;
  }
  stop_.notify_all();
  thread_.join();
}

void DatabaseMonitor::Watch() {
  std::optional<absl::Status> last;
  std::unique_lock<std::mutex> lock(mutex_);
  while (!stopping_) {
    lock.unlock();
    absl::Status now = Look();
    if (!now.ok()) connection_.reset();
    if (last != now || !now.ok()) on_look_(now);
    last = now;
    lock.lock();
    stop_.wait_for(lock, now.ok() ? kPauseWhileUp : kPauseWhileAway, [this] { return stopping_; });
  }
}

absl::Status DatabaseMonitor::Look() {
  const absl::Time deadline = absl::Now() + kPatience;
  if (connection_ == nullptr) {
    const absl::Status connected = Connect(deadline);
    if (!connected.ok()) return connected;
  }
  return AskVersion(deadline);
}

absl::Status DatabaseMonitor::Connect(absl::Time deadline) {
  connection_.reset(PQconnectStart(dsn_.c_str()));
  if (PQstatus(connection_.get()) == CONNECTION_BAD) return Problem(connection_.get());
  PostgresPollingStatusType state = PGRES_POLLING_WRITING;
  while (state != PGRES_POLLING_OK) {
    const short events = state == PGRES_POLLING_READING ? POLLIN : POLLOUT;
    if (!Wait(connection_.get(), events, deadline)) return NoAnswer();
    state = PQconnectPoll(connection_.get());
    if (state == PGRES_POLLING_FAILED) return Problem(connection_.get());
  }
  return absl::OkStatus();
}

absl::Status DatabaseMonitor::AskVersion(absl::Time deadline) {
  PGconn* const connection = connection_.get();
  if (PQsendQuery(connection, kAskVersion) == 0) return Problem(connection);
  absl::Status answer = NoAnswer();
  while (true) {
    while (PQisBusy(connection) != 0) {
      if (!Wait(connection, POLLIN, deadline)) return NoAnswer();
      if (PQconsumeInput(connection) == 0) return Problem(connection);
    }
    const std::unique_ptr<PGresult, decltype(&PQclear)> result(PQgetResult(connection), PQclear);
    if (result == nullptr) return answer;
    if (PQresultStatus(result.get()) != PGRES_TUPLES_OK) {
      answer = Problem(connection);
    } else if (const int version = std::atoi(PQgetvalue(result.get(), 0, 0));
               version < schema_version_) {
      answer = absl::UnavailableError(absl::StrCat("the schema is at version ", version, ", not ",
                                                   schema_version_, ": run energy-sites migrate"));
    } else {
      answer = absl::OkStatus();
    }
  }
}

}  // namespace energysites::storage
