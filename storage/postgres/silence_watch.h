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

// How much later than a statement timeout the database's answer may come.
constexpr absl::Duration kSilenceMargin = absl::Seconds(5);
// The limit where the statement timeout is 30 s.
constexpr absl::Duration kMaxSilence = absl::Seconds(35);
// The limit for exports, which have no statement timeout: before its first row comes, one may sort.
constexpr absl::Duration kMaxExportSilence = absl::Minutes(2);

// A statement timeout needs a backend that runs, and TCP keepalives see a host that runs: neither
// ends the wait for a backend that stands still on a hung disk or behind a stalled pooler. This
// thread of the client's side does: it ends a connection that waited for longer than its limit
// without a sign of the database. All methods may be called from any thread.
//
// The backend of such a connection is there for as long as it stands still, and counts against
// max_connections. So this also bounds how many backends the process has, those included.
class SilenceWatch {
 public:
  using Clock = std::chrono::steady_clock;

  // `on_abandoned` is called on the watch's thread after it has ended a connection.
  explicit SilenceWatch(size_t max_backends, std::function<void()> on_abandoned = nullptr);
  // No connection may be left.
  ~SilenceWatch();
  SilenceWatch(const SilenceWatch&) = delete;
  SilenceWatch& operator=(const SilenceWatch&) = delete;

  // Watches `connection` until Remove has returned.
  void Add(Connection* connection, Clock::duration limit);
  void Remove(Connection* connection);

  // Whether the bound on backends allows a new connection now.
  bool MayConnect() const;

  // The process ids of backends whose connection was ended, and that may be there yet.
  std::set<int> abandoned_backends() const;
  // The backend has ended.
  void ForgetBackend(int pid);

 private:
  struct Entry {
    Clock::duration limit;
    uint64_t progress = 0;    // Of the connection, when it was last looked at.
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
