// Ends connections on which the database does not answer.
#ifndef STORAGE_POSTGRES_SILENCE_WATCH_H_
#define STORAGE_POSTGRES_SILENCE_WATCH_H_

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <set>
#include <thread>

#include "absl/time/time.h"

namespace energysites::storage {

class Connection;

// How much later than the statement timeout the database may answer.
constexpr absl::Duration kSilenceMargin = absl::Seconds(5);
// The limit where the statement timeout is 30 s.
constexpr absl::Duration kMaxSilence = absl::Seconds(35);
// The limit for exports, which have no statement timeout: one may sort before it returns a row.
constexpr absl::Duration kMaxExportSilence = absl::Minutes(2);

// A statement timeout needs a backend that runs, and TCP keepalives only check the host: neither
// ends the wait for a backend that hangs, for example on a disk or behind a stalled pooler. This
// thread of the client does: it ends a connection that waited for longer than its limit without
// progress. All methods may be called from any thread.
//
// The backend of such a connection exists as long as it hangs, and counts against max_connections.
// So this also bounds how many backends the process has, including those.
class SilenceWatch {
 public:
  using Clock = std::chrono::steady_clock;

  // `on_abandoned` is called on the watch's thread after it has ended a connection.
  explicit SilenceWatch(size_t max_backends, std::function<void()> on_abandoned = nullptr);
  // All connections must have been removed.
  ~SilenceWatch();
  SilenceWatch(const SilenceWatch&) = delete;
  SilenceWatch& operator=(const SilenceWatch&) = delete;

  // Watches `connection` until Remove has returned.
  void Add(Connection* connection, Clock::duration limit);
  void Remove(Connection* connection);

  // Whether the bound on backends allows a new connection now.
  bool MayConnect() const;

  // The process ids of backends whose connection was ended, and that may still exist.
  std::set<int> abandoned_backends() const;
  // The backend has ended.
  void ForgetBackend(int pid);

 private:
  struct Entry {
    Clock::duration limit;
    uint64_t progress = 0;    // Of the connection, at the last check.
    Clock::time_point since;  // When this progress was first seen.
  };

  void Run();
  // Returns how many connections it has ended. With mutex_ held.
  int EndSilentConnections();

  const size_t max_backends_;
  const std::function<void()> on_abandoned_;
  mutable std::mutex mutex_;
  std::condition_variable stop_;
  bool stopping_ = false;
  std::map<Connection*, Entry> connections_;
  std::set<int> abandoned_backends_;
  std::thread thread_;
};

}  // namespace energysites::storage

#endif  // STORAGE_POSTGRES_SILENCE_WATCH_H_
