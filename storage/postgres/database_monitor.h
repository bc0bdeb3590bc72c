// Checks whether the database answers and has the schema of this program.
#ifndef STORAGE_POSTGRES_DATABASE_MONITOR_H_
#define STORAGE_POSTGRES_DATABASE_MONITOR_H_

#include <libpq-fe.h>

#include <atomic>
#include <condition_variable>
#include <functional>
#include <limits>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "storage/postgres/connection.h"
#include "storage/postgres/dsn.h"
#include "storage/postgres/silence_watch.h"

namespace energysites::storage {

// What the database reported when it last answered. Unknown values are NaN.
struct DatabaseFacts {
  static constexpr double kUnknown = std::numeric_limits<double>::quiet_NaN();

  double schema_version = kUnknown;
  // Months after this one that have a partition, up to the first that has none; at most 12.
  double months_ahead = kUnknown;
  double standbys = kUnknown;
  // How much of the write-ahead log the slowest standby has not replayed. Known to roles with
  // pg_read_all_stats, and where there is no standby.
  double replication_lag_bytes = kUnknown;
};

// Checks the database every second on its own connection, and more often while it is unavailable.
// Uses libpq's non-blocking calls, because a blocking one would wait for ever for a database that
// hangs.
class DatabaseMonitor {
 public:
  // Called on the monitor's thread with OK or what is wrong: after the first check, at every
  // change, and after every check while something is wrong.
  using OnCheck = std::function<void(const absl::Status&)>;

  // `schema_version` is the least that the database must have. `silence_watch`, which may be null
  // and else outlives the monitor, is notified which abandoned backends have ended.
  DatabaseMonitor(DsnSource dsn, int schema_version, OnCheck on_check,
                  SilenceWatch* silence_watch = nullptr);
  ~DatabaseMonitor();
  DatabaseMonitor(const DatabaseMonitor&) = delete;
  DatabaseMonitor& operator=(const DatabaseMonitor&) = delete;

  // From any thread.
  DatabaseFacts facts() const;

 private:
  void Watch();
  // One check, within kTimeout. If the connection fails, checks once more on a new one.
  absl::Status Check();
  absl::Status Connect(absl::Time deadline);
  absl::Status AskVersion(absl::Time deadline);
  // Waits until the socket is ready for `events`; false once `deadline` has passed, or at the end.
  bool Wait(short events, absl::Time deadline) const;
  // These do not affect whether the database counts as available.
  void AskFacts(absl::Time deadline);
  void AskAbandonedBackends(absl::Time deadline);
  // The one row that `sql` gives; UNAVAILABLE if there is none by the deadline.
  absl::StatusOr<PgResult> Ask(const char* sql, absl::Time deadline);

  const DsnSource dsn_;
  const int schema_version_;
  const OnCheck on_check_;
  SilenceWatch* const silence_watch_;
  std::unique_ptr<PGconn, decltype(&PQfinish)> connection_{nullptr, PQfinish};
  mutable std::mutex mutex_;
  std::condition_variable stop_;
  std::atomic<bool> stopping_ = false;
  DatabaseFacts facts_;
  std::thread thread_;
};

}  // namespace energysites::storage

#endif  // STORAGE_POSTGRES_DATABASE_MONITOR_H_
