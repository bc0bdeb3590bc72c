// Delivers committed live data entries to watchers.
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
  size_t max_watchers = 1000;
  WatchQueueOptions queue;
  // Called on the feed's thread with each fault, except that the database is unavailable.
  std::function<void(const absl::Status&)> on_fault = [](const absl::Status&) {};
};

// One thread with one connection, opened when first needed, for all watchers of the process and for
// its notifications to other processes.
//
// Entries are delivered in the order of (xid, id), up to pg_snapshot_xmin: below it no transaction
// is open, so no entry can be committed later that would come before a delivered one. Positions are
// those of entries and never pg_snapshot_xmin itself, because after a crash the database may assign
// again the ids of transactions that were not on disk.
//
// A watcher whose queue is full when new entries arrive gets them later, by queries of its own: it
// delays no other watcher, and its queue is bounded.
class LiveDataFeed {
 public:
  explicit LiveDataFeed(const LiveDataFeedOptions& options);
  ~LiveDataFeed();
  LiveDataFeed(const LiveDataFeed&) = delete;
  LiveDataFeed& operator=(const LiveDataFeed&) = delete;

  // From any thread, none of them blocks.

  // To be called after a commit that stored entries; cheap. Watchers in all processes get the
  // entries soon. Without the call they get them up to a second later.
  void EntriesWritten();

  // Adds a watcher of `sites` (empty for all), until Remove. It gets the entries after `resume`, or
  // from now on. Returns RESOURCE_EXHAUSTED if there are `max_watchers`.
  absl::StatusOr<std::shared_ptr<WatchQueue>> Add(WatchListener* listener,
                                                  std::unordered_set<int64_t> sites,
                                                  std::optional<WatchPosition> resume);
  // The listener is not called any more; waits for a call in progress.
  void Remove(const std::shared_ptr<WatchQueue>& watcher);

  // To be called when the queue of a watcher that is behind has room.
  void Wake();

  size_t watchers() const;
  size_t max_watchers() const { return options_.max_watchers; }
  // How long the transaction has been open that delays the delivery of newer entries.
  double delay_seconds() const { return delay_seconds_; }

  static Statements AllStatements();

 private:
  using Clock = WatchQueue::Clock;
  using Watchers = std::vector<std::shared_ptr<WatchQueue>>;

  void Run();
  // One iteration of the thread that uses the database; throws what libpqxx throws.
  void Work(const Watchers& watchers);
  void Connect(const Watchers& watchers);
  void Disconnect();
  void Notify();
  void TakeNotifications();
  void BeginNewWatchers(const Watchers& watchers);
  // Delivers new entries to the watchers that have all entries before them.
  void LookUp(const Watchers& watchers);
  // Reads older entries for the next watcher that is behind, and delivers them to all watchers at
  // the same position.
  void CatchUp(const Watchers& watchers);
  WatchChunk Read(const WatchPosition& from, const WatchPosition& to);
  void MeasureDelay();
  // Waits until there is work.
  void Wait(bool has_watchers);

  const LiveDataFeedOptions options_;
  const int wake_up_;  // An eventfd.
  std::atomic<bool> stopping_ = false;
  std::atomic<bool> entries_written_ = false;
  std::atomic<double> delay_seconds_ = 0;

  mutable std::mutex mutex_;
  Watchers watchers_;
  int socket_ = -1;  // Of connection_, so that the destructor can end a query.

  // The rest is used by the thread only.
  std::unique_ptr<Connection> connection_;
  bool notified_ = false;
  std::optional<WatchPosition> head_;  // The last entry delivered, if there are watchers.
  bool more_ = false;                  // The last query was full, or a watcher is behind.
  size_t next_behind_ = 0;
  Clock::time_point retry_time_, notify_time_, look_up_time_, last_look_up_, last_tick_;
  uint64_t horizon_ = 0;
  Clock::time_point horizon_time_;

  std::thread thread_;
};

}  // namespace energysites::storage

#endif  // STORAGE_WATCH_LIVE_DATA_FEED_H_
