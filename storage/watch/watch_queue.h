// The entries that one watcher of live data has not received yet: filled by the feed's thread,
// emptied by the watcher's stream. Independent of the database and of gRPC.
#ifndef STORAGE_WATCH_WATCH_QUEUE_H_
#define STORAGE_WATCH_WATCH_QUEUE_H_

#include <chrono>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>
#include <tuple>
#include <unordered_set>
#include <vector>

namespace energysites::storage {

// The position of an entry in the order of delivery: the transaction that stored it, and its id.
struct WatchPosition {
  uint64_t xid = 0;
  int64_t id = 0;

  friend bool operator<(const WatchPosition& a, const WatchPosition& b) {
    return std::tie(a.xid, a.id) < std::tie(b.xid, b.id);
  }
  friend bool operator==(const WatchPosition& a, const WatchPosition& b) {
    return std::tie(a.xid, a.id) == std::tie(b.xid, b.id);
  }
};

struct WatchEntry {
  WatchPosition position;
  int64_t site_id = 0;
  // A serialized v1::WatchLiveDataResponse with only this entry. Several of them concatenated are
  // one message, so that each is serialized once for all watchers.
  std::string bytes;
};

// All entries after `from`, up to and including `to`, in order.
struct WatchChunk {
  WatchPosition from, to;
  std::vector<WatchEntry> entries;
};

struct WatchAnswer {
  std::string entries;     // As WatchEntry::bytes.
  WatchPosition position;  // Of the last entry before the next answer.
};

enum class WatchEnd { kCancelled, kDraining, kTooSlow, kUnknownPosition };

// A watcher's stream. Called with the queue's lock held, so one call at a time: it must not block,
// nor call the queue.
class WatchListener {
 public:
  virtual ~WatchListener() = default;
  // Called only after the previous answer was sent.
  virtual void Send(WatchAnswer answer) = 0;
  // Called at most once, and only Cut after it. `last_answer` may still be in progress.
  virtual void End(WatchEnd why, const WatchPosition& last_answer) = 0;
  // The client does not receive the end of the stream either.
  virtual void Cut() = 0;
};

struct WatchQueueOptions {
  // Size of the entries that wait while an answer is sent, and so about the size of an answer.
  size_t max_bytes = 256 << 10;
  // How long sending an answer may take before the watcher is dropped.
  std::chrono::milliseconds stall_timeout = std::chrono::seconds(30);
  // How often a watcher without new entries gets the current position, so that resuming does not
  // read the entries of other sites again.
  std::chrono::milliseconds position_interval = std::chrono::seconds(10);
  // The same if the position has not changed: proxies end streams without data after minutes, and a
  // client that disappeared is detected because it does not receive this.
  std::chrono::milliseconds quiet_interval = std::chrono::seconds(60);
};

// All methods may be called from any thread.
class WatchQueue {
 public:
  using Clock = std::chrono::steady_clock;

  // Watches `sites` (empty for all), after `resume` or from now on. `listener` is called until
  // Detach.
  WatchQueue(WatchListener* listener, std::unordered_set<int64_t> sites,
             std::optional<WatchPosition> resume, const WatchQueueOptions& options);
  WatchQueue(const WatchQueue&) = delete;
  WatchQueue& operator=(const WatchQueue&) = delete;

  // For the stream.

  // The answer was sent: sends the next one, if there is one.
  void Sent(Clock::time_point now);
  // Whether the feed has skipped entries because the queue was full: it is to be woken when there
  // is room.
  bool IsBehind() const;
  void End(WatchEnd why);
  // The listener is not called any more; waits for a call in progress.
  void Detach();

  // For the feed.

  // Sends the first answer, which has a position only. `head` is the position of the last entry. To
  // be called once, before Deliver.
  void Begin(const WatchPosition& head, Clock::time_point now);
  bool HasBegun() const;
  // Ends the watcher if its position is of a transaction that the database has not begun: then it
  // is from another database, or from before a backup was restored.
  void EndIfFrom(uint64_t next_xid);
  // Takes the entries that are new to this watcher, as far as there is room. Does nothing if the
  // watcher's position is before or after the chunk.
  void Deliver(const WatchChunk& chunk, Clock::time_point now);
  // The watcher's position if it is behind `head` and its queue is empty.
  std::optional<WatchPosition> Behind(const WatchPosition& head);
  // Drops a watcher that stalls, and sends the position when it is due.
  void Tick(Clock::time_point now);

 private:
  // With mutex_ held.
  void Send(Clock::time_point now);
  void EndLocked(WatchEnd why);

  const std::unordered_set<int64_t> sites_;
  const WatchQueueOptions options_;
  mutable std::mutex mutex_;
  WatchListener* listener_;
  bool begun_ = false;
  bool ended_ = false;
  bool cut_ = false;
  bool behind_ = false;
  std::optional<WatchPosition> resume_;
  WatchPosition position_;  // Up to here all entries are in answers or in waiting_.
  std::string waiting_;
  bool sending_ = false;
  Clock::time_point sent_time_;  // Of the last answer.
  WatchPosition sent_position_;
};

}  // namespace energysites::storage

#endif  // STORAGE_WATCH_WATCH_QUEUE_H_
