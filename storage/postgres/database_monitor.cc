#include "storage/postgres/database_monitor.h"

#include <poll.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <optional>
#include <set>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"

namespace energysites::storage {
namespace {

constexpr absl::Duration kTimeout = absl::Seconds(3);
constexpr std::chrono::milliseconds kPauseWhileUp(1000);
constexpr std::chrono::milliseconds kPauseWhileAway(250);

constexpr char kAskVersion[] = "SELECT coalesce(max(version), 0) FROM public.schema_migrations";

// Without pg_read_all_stats a role sees nothing of a standby but that there is one.
constexpr char kAskFacts[] = R"sql(
  SELECT (SELECT greatest(count(*) - 1, 0)
          FROM (SELECT bool_and(to_regclass('public.live_data_' || to_char(month, 'YYYY_MM'))
                                IS NOT NULL) OVER (ORDER BY month) AS made
                FROM generate_series(date_trunc('month', now() AT TIME ZONE 'UTC'),
                                     now() AT TIME ZONE 'UTC' + interval '12 months',
                                     interval '1 month') AS month) AS months
          WHERE made),
         (SELECT count(*) FROM pg_catalog.pg_stat_replication),
         (SELECT max(CASE WHEN NOT pg_is_in_recovery()
                          THEN pg_wal_lsn_diff(pg_current_wal_lsn(), replay_lsn) END)
          FROM pg_catalog.pg_stat_replication)
)sql";

absl::Status Problem(PGconn* connection) {
  absl::string_view text = PQerrorMessage(connection);
  return absl::UnavailableError(absl::StripSuffix(text, "\n"));
}

absl::Status NoAnswer() { return absl::UnavailableError("the database does not answer"); }

}  // namespace

DatabaseMonitor::DatabaseMonitor(DsnSource dsn, int schema_version, OnCheck on_check,
                                 SilenceWatch* silence_watch)
    : dsn_(std::move(dsn)),
      schema_version_(schema_version),
      on_check_(std::move(on_check)),
      silence_watch_(silence_watch),
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
    absl::Status now = Check();
    if (stopping_) return;
    if (!now.ok()) connection_.reset();
    if (last != now || !now.ok()) on_check_(now);
    last = now;
    lock.lock();
    stop_.wait_for(lock, now.ok() ? kPauseWhileUp : kPauseWhileAway,
                   [this] { return stopping_.load(); });
  }
}

absl::Status DatabaseMonitor::Check() {
  const absl::Time deadline = absl::Now() + kTimeout;
  absl::Status status = NoAnswer();
  if (connection_ != nullptr) {
    status = AskVersion(absl::Now() + kTimeout / 2);
    if (!status.ok()) connection_.reset();
  }
  if (connection_ == nullptr) {
    status = Connect(deadline);
    if (status.ok()) status = AskVersion(deadline);
  }
  if (!status.ok()) return status;
  AskFacts(deadline);
  AskAbandonedBackends(deadline);
  // The next check cannot send a query while one of this check is in progress.
  if (PQtransactionStatus(connection_.get()) != PQTRANS_IDLE) connection_.reset();
  return status;
}

bool DatabaseMonitor::Wait(short events, absl::Time deadline) const {
  // Often enough for the destructor, which waits for it.
  constexpr int kSliceMs = 100;
  pollfd descriptor = {PQsocket(connection_.get()), events, 0};
  while (!stopping_) {
    const int64_t left = std::max<int64_t>(absl::ToInt64Milliseconds(deadline - absl::Now()), 0);
    if (poll(&descriptor, 1, static_cast<int>(std::min<int64_t>(left, kSliceMs))) > 0) return true;
    if (left == 0) return false;
  }
  return false;
}

absl::Status DatabaseMonitor::Connect(absl::Time deadline) {
  const absl::StatusOr<std::string> dsn = dsn_.Get();
  if (!dsn.ok()) return absl::UnavailableError(dsn.status().message());
  connection_.reset(PQconnectStart(dsn->c_str()));
  if (PQstatus(connection_.get()) == CONNECTION_BAD) return Problem(connection_.get());
  PostgresPollingStatusType state = PGRES_POLLING_WRITING;
  while (state != PGRES_POLLING_OK) {
    const short events = state == PGRES_POLLING_READING ? POLLIN : POLLOUT;
    if (!Wait(events, deadline)) return NoAnswer();
    state = PQconnectPoll(connection_.get());
    if (state == PGRES_POLLING_FAILED) return Problem(connection_.get());
  }
  return absl::OkStatus();
}

absl::Status DatabaseMonitor::AskVersion(absl::Time deadline) {
  const absl::StatusOr<PgResult> row = Ask(kAskVersion, deadline);
  if (!row.ok()) return row.status();
  const int version = std::atoi(PQgetvalue(row->get(), 0, 0));
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    facts_.schema_version = version;
  }
  if (version >= schema_version_) return absl::OkStatus();
  return absl::UnavailableError(absl::StrCat("the schema is at version ", version, ", not ",
                                             schema_version_, ": run energy-sites migrate"));
}

void DatabaseMonitor::AskFacts(absl::Time deadline) {
  const absl::StatusOr<PgResult> row = Ask(kAskFacts, deadline);
  if (!row.ok()) return;
  const auto number = [&](int column) { return std::atof(PQgetvalue(row->get(), 0, column)); };
  const std::lock_guard<std::mutex> lock(mutex_);
  facts_.months_ahead = number(0);
  facts_.standbys = number(1);
  const bool unseen = facts_.standbys > 0 && PQgetisnull(row->get(), 0, 2) != 0;
  facts_.replication_lag_bytes = unseen ? DatabaseFacts::kUnknown : number(2);
}

void DatabaseMonitor::AskAbandonedBackends(absl::Time deadline) {
  if (silence_watch_ == nullptr) return;
  std::set<int> ended = silence_watch_->abandoned_backends();
  if (ended.empty()) return;
  const absl::StatusOr<PgResult> row =
      Ask(absl::StrCat("SELECT string_agg(pid::text, ',') FROM pg_catalog.pg_stat_activity "
                       "WHERE pid IN (",
                       absl::StrJoin(ended, ","), ")")
              .c_str(),
          deadline);
  if (!row.ok()) return;
  for (const absl::string_view pid : absl::StrSplit(PQgetvalue(row->get(), 0, 0), ',')) {
    int number = 0;
    if (absl::SimpleAtoi(pid, &number)) ended.erase(number);
  }
  for (const int pid : ended) silence_watch_->ForgetBackend(pid);
}

absl::StatusOr<PgResult> DatabaseMonitor::Ask(const char* sql, absl::Time deadline) {
  PGconn* const connection = connection_.get();
  if (PQsendQuery(connection, sql) == 0) return Problem(connection);
  absl::StatusOr<PgResult> answer = NoAnswer();
  while (true) {
    while (PQisBusy(connection) != 0) {
      if (!Wait(POLLIN, deadline)) return NoAnswer();
      if (PQconsumeInput(connection) == 0) return Problem(connection);
    }
    PgResult result(PQgetResult(connection), PQclear);
    if (result == nullptr) return answer;
    if (PQresultStatus(result.get()) == PGRES_TUPLES_OK && PQntuples(result.get()) == 1) {
      answer = std::move(result);
    } else {
      answer = Problem(connection);
    }
  }
}

DatabaseFacts DatabaseMonitor::facts() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return facts_;
}

}  // namespace energysites::storage
