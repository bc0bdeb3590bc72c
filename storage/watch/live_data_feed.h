// Tells watchers which entries of live data are stored, whoever stores them.
#ifndef STORAGE_WATCH_LIVE_DATA_FEED_H_
#define STORAGE_WATCH_LIVE_DATA_FEED_H_

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <unordered_set>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "storage/postgres/connection.h"
#include "storage/postgres/dsn.h"
#include "storage/postgres/statement.h"
#include "storage/watch/watch_queue.h"

namespace energysites::storage {

struct LiveDataFeedOptions {
  DsnSource dsn;
  SilenceWatch* silence_watch = nullptr;  // Null for no bound; else it outlives the feed.
  size_t most_watchers = 1000;
  WatchQueueOptions queue;
  // Told on the feed's thread what goes wrong, but for a database that is away.
  std::function<void(const absl::Status&)> on_fault = [](const absl::Status&) {};
};

// One thread with one connection, made on first need, for all watchers of the process and for its
// notifications to other processes.
//
// Entries are told in the order of (xid, id), up to pg_snapshot_xmin: below it no transaction is
// open, so nothing can come later and be in front. Positions are those of entries and never
// pg_snapshot_xmin itself, for after a crash the database may give transaction ids again whose
// transactions had not come to disk.
//
// A watcher that has no room when new entries come is told them later, by look-ups of its own: so
// it delays nobody, and what waits for it is bounded.
class LiveDataFeed {
 public:
  explicit LiveDataFeed(const LiveDataFeedOptions& options);
  ~LiveDataFeed();
  LiveDataFeed(const LiveDataFeed&) = delete;
  LiveDataFeed& operator=(const LiveDataFeed&) = delete;

  // From any thread, none of them blocks.

  // To be called by whoever stored entries, after the commit; costs next to nothing. Watchers in
  // all processes look soon. Without it they find the entries a second later.
  void EntriesWritten();

  // Adds a watcher of `sites` (empty for all), from behind `resume` or from now on, until Remove.
  // Returns RESOURCE_EXHAUSTED if there are as many as may be.
  absl::StatusOr<std::shared_ptr<WatchQueue>> Add(WatchListener* listener,
                                                  std::unordered_set<int64_t> sites,
                                                  std::optional<WatchPosition> resume);
  // The listener is not called any more; waits for a call under way.
  void Remove(const std::shared_ptr<WatchQueue>& watcher);

  // To be called when a watcher that is behind has room.
  void Wake();

  size_t watchers() const;
  size_t most_watchers() const { return options_.most_watchers; }
  // How long the transaction has been open that keeps watchers from being told newer entries.
  double delay_seconds() const { return delay_seconds_; }

  static Statements AllStatements();

 private:
  using Clock = WatchQueue::Clock;
  using Watchers = std::vector<std::shared_ptr<WatchQueue>>;

  void Run();
  // One turn of the thread, with a database; throws what libpqxx throws.
  void Work(const Watchers& watchers);
  void Connect(const Watchers& watchers);
  void Disconnect();
  void Notify();
  void TakeNotifications();
  void BeginNewWatchers(const Watchers& watchers);
  // Tells what is new to those who know all before it.
  void LookUp(const Watchers& watchers);
  // Reads on for the next of those who are behind, and tells all who are in the same place.
  void CatchUp(const Watchers& watchers);
  WatchChunk Read(const WatchPosition& from, const WatchPosition& to);
  void MeasureDelay();
  // Until there is something to do.
  void Wait(bool has_watchers);

  const LiveDataFeedOptions options_;
  const int wake_up_;  // An eventfd.
  std::atomic<bool> stopping_ = false;
  std::atomic<bool> entries_written_ = false;
  std::atomic<double> delay_seconds_ = 0;

  mutable std::mutex mutex_;
  Watchers watchers_;
  int socket_ = -1;  // Of connection_, so that the destructor can end a query.

  // The rest is the thread's.
  std::unique_ptr<Connection> connection_;
  bool notified_ = false;
  std::optional<WatchPosition> head_;  // Up to here watchers were told, where there are any.
  bool more_ = false;                  // The last look-up was full, or someone is behind.
  size_t next_behind_ = 0;
  Clock::time_point retry_time_, notify_time_, look_up_time_, last_look_up_, last_tick_;
  uint64_t horizon_ = 0;
  Clock::time_point horizon_time_;

  std::thread thread_;
};

}  // namespace energysites::storage

#endif  // STORAGE_WATCH_LIVE_DATA_FEED_H_
