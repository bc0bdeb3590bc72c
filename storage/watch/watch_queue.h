// What one watcher of live data is still to be told: filled by the feed's thread, emptied by the
// watcher's stream. Knows neither the database nor gRPC.
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

// A place in the order in which entries are told: that of an entry, by the transaction that wrote
// it and its id.
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
  // A v1::WatchLiveDataResponse with nothing but this entry; several of them make one message when
  // put together, so that each is made once for all watchers.
  std::string bytes;
};

// All entries behind `from`, up to and with `to`, in their order.
struct WatchChunk {
  WatchPosition from, to;
  std::vector<WatchEntry> entries;
};

struct WatchAnswer {
  std::string entries;     // As WatchEntry::bytes.
  WatchPosition position;  // Where to go on behind this answer.
};

enum class WatchEnd { kCancelled, kDraining, kTooSlow, kUnknownPosition };

// A watcher's stream. Called with the queue's lock held, so one call at a time: it must not block,
// nor call the queue.
class WatchListener {
 public:
  virtual ~WatchListener() = default;
  // Called only once the answer before was sent.
  virtual void Send(WatchAnswer answer) = 0;
  // Called at most once, and nothing after it but Cut. `last_answer` may still be on its way.
  virtual void End(WatchEnd why, const WatchPosition& last_answer) = 0;
  // The client does not take the end either.
  virtual void Cut() = 0;
};

struct WatchQueueOptions {
  // Entries that wait while an answer is on its way, and so about the size of an answer.
  size_t most_bytes = 256 << 10;
  // How long an answer may be on its way before the watcher is dropped.
  std::chrono::milliseconds stall_timeout = std::chrono::seconds(30);
  // A watcher that is told nothing still learns this often how far the order came, so that its
  // resumption does not read all that again.
  std::chrono::milliseconds position_interval = std::chrono::seconds(10);
  // The same where the order has not moved: proxies end streams that are silent for minutes, and a
  // client that is gone without a word is found because it does not take this.
  std::chrono::milliseconds quiet_interval = std::chrono::seconds(60);
};

// All methods may be called from any thread.
class WatchQueue {
 public:
  using Clock = std::chrono::steady_clock;

  // Watches `sites` (empty for all), from behind `resume` or from now on. `listener` is called
  // until Detach.
  WatchQueue(WatchListener* listener, std::unordered_set<int64_t> sites,
             std::optional<WatchPosition> resume, const WatchQueueOptions& options);
  WatchQueue(const WatchQueue&) = delete;
  WatchQueue& operator=(const WatchQueue&) = delete;

  // For the stream.

  // The answer went out: sends the next one, if there is one.
  void Sent(Clock::time_point now);
  // Whether the feed has left entries out for want of room: it wants to be woken when there is
  // some.
  bool IsBehind() const;
  void End(WatchEnd why);
  // The listener is not called any more; waits for a call under way.
  void Detach();

  // For the feed.

  // Sends the first answer, which has a position only. `head` is where the order ends now. To be
  // called once, before Deliver.
  void Begin(const WatchPosition& head, Clock::time_point now);
  bool HasBegun() const;
  // Ends the watcher if its position is that of a transaction which the database has not begun:
  // it then is from another database, or from before a backup was restored.
  void EndIfFrom(uint64_t next_xid);
  // Takes what is new to this watcher, as far as there is room. Does nothing for a watcher whose
  // position is before or behind the chunk.
  void Deliver(const WatchChunk& chunk, Clock::time_point now);
  // Where the watcher wants to go on if it is behind `head` and has taken all that it was given.
  std::optional<WatchPosition> Behind(const WatchPosition& head);
  // Drops a watcher that stalls, and sends the position that is due.
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
  WatchPosition position_;  // Up to here all is in answers or in waiting_.
  std::string waiting_;
  bool sending_ = false;
  Clock::time_point sent_time_;  // Of the last answer.
  WatchPosition sent_position_;
};

}  // namespace energysites::storage

#endif  // STORAGE_WATCH_WATCH_QUEUE_H_
