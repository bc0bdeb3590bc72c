// Watches whether the database answers and has our schema.
#ifndef STORAGE_DATABASE_MONITOR_H_
#define STORAGE_DATABASE_MONITOR_H_

#include <libpq-fe.h>

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace energysites::storage {

// Asks the database every second on a connection of its own, and more often while it is away. Uses
// libpq's non-blocking calls, because a stopped database would hold a blocking one for ever.
class DatabaseMonitor {
 public:
  // Called on the monitor's thread: OK, or what is wrong. After the first look, at every change,
  // and after every look while something is wrong.
  using OnLook = std::function<void(const absl::Status&)>;

  // `dsn` from CompleteDsn; `schema_version` is the least that the database must have.
  DatabaseMonitor(std::string dsn, int schema_version, OnLook on_look);
  ~DatabaseMonitor();
  DatabaseMonitor(const DatabaseMonitor&) = delete;
  DatabaseMonitor& operator=(const DatabaseMonitor&) = delete;

 private:
  void Watch();
  // One look, within kPatience.
  absl::Status Look();
  absl::Status Connect(absl::Time deadline);
  absl::Status AskVersion(absl::Time deadline);

  const std::string dsn_;
  const int schema_version_;
  const OnLook on_look_;
  std::unique_ptr<PGconn, decltype(&PQfinish)> connection_{nullptr, PQfinish};
  std::mutex mutex_;
  std::condition_variable stop_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace energysites::storage

#endif  // STORAGE_DATABASE_MONITOR_H_
