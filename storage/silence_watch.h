// Ends connections on which the database does not answer.
#ifndef STORAGE_SILENCE_WATCH_H_
#define STORAGE_SILENCE_WATCH_H_

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <thread>

#include "absl/time/time.h"

namespace energysites::storage {

class Connection;

// How much later than a statement timeout the database's answer may come.
constexpr absl::Duration kSilenceMargin = absl::Seconds(5);
// The limit where the statement timeout is 30 s.
constexpr absl::Duration kMaxSilence = absl::Seconds(35);

// A statement timeout needs a backend that runs, and TCP keepalives see a host that runs: neither
// ends the wait for a backend that stands still on a hung disk or behind a stalled pooler. This
// thread of the client's side does: it ends a connection that waited for longer than its limit
// without a sign of the database. All methods may be called from any thread.
//
// The backend may be there for as long as it stands still, and counts against max_connections. So
// connections that were ended are replaced within bounds: kReplacements at once, and then one every
// kReplacementPeriod.
class SilenceWatch {
 public:
  using Clock = std::chrono::steady_clock;
  using Now = std::function<Clock::time_point()>;

  static constexpr int kReplacements = 16;
  static constexpr std::chrono::seconds kReplacementPeriod{30};

  // `on_abandoned` is called on the watch's thread after it has ended a connection.
  explicit SilenceWatch(std::function<void()> on_abandoned = nullptr, Now now = Clock::now);
  // No connection may be left.
  ~SilenceWatch();
  SilenceWatch(const SilenceWatch&) = delete;
  SilenceWatch& operator=(const SilenceWatch&) = delete;

  // Watches `connection` until Remove has returned.
  void Add(Connection* connection, Clock::duration limit);
  void Remove(Connection* connection);

  // Whether the bound on replacements allows a new connection now.
  bool MayConnect() const;

 private:
  struct Entry {
    Clock::duration limit;
    uint64_t progress = 0;    // Of the connection, when it was last looked at.
    Clock::time_point since;  // When this progress was first seen.
  };

  void Run();
  // Returns how many connections it has ended. With mutex_ held.
  int EndSilentConnections();
  double ReplacementsLeft(Clock::time_point now) const;

  const std::function<void()> on_abandoned_;
  const Now now_;
  mutable std::mutex mutex_;
  std::condition_variable stop_;
  bool stopping_ = false;
  std::map<Connection*, Entry> connections_;
  // At `replacements_time_`; it may be below zero.
  double replacements_ = kReplacements;
  Clock::time_point replacements_time_;
  std::thread thread_;
};

}  // namespace energysites::storage

#endif  // STORAGE_SILENCE_WATCH_H_
