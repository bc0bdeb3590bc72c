// Lets concurrent calls of one kind ride in one query.
#ifndef STORAGE_INSERTS_BATCHER_H_
#define STORAGE_INSERTS_BATCHER_H_

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "absl/status/status.h"
#include "storage/postgres/executor.h"
#include "storage/postgres/session.h"

namespace energysites::storage {

// A call that may ride. Added once; the batcher then either puts it into exactly one ride, or drops
// it, on any thread, and does not touch it again. The owner keeps it alive until then, and until
// its own calls of Batcher::Cancel have returned.
class Rider {
 public:
  virtual ~Rider() = default;
  // Riders with the same key wait for each other; those with different keys take turns.
  virtual int64_t FairnessKey() const = 0;
  virtual void Drop(absl::Status why) = 0;

 private:
  friend class Batcher;
  bool waiting_ = false;
  bool cancelled_ = false;
};

struct BatcherOptions {
  size_t most_riders = 1;
  // Rides in the database at one time.
  int concurrent_rides = 1;
  size_t queue_limit = 1000;
};

// There is no timer: a rider that finds nobody under way starts at once, and those that come
// meanwhile make up the next ride. All methods may be called from any thread and none of them
// blocks, but for the destructor.
class Batcher {
 public:
  // Runs the query for some riders and returns what tells each of them the outcome, which runs
  // when the next ride is on its way already.
  using Ride = std::function<std::function<void()>(Session&, const std::vector<Rider*>&)>;

  // `executor` outlives it.
  Batcher(Executor& executor, const BatcherOptions& options, Ride ride);
  // Waits for rides under way; nobody may be waiting.
  ~Batcher();
  Batcher(const Batcher&) = delete;
  Batcher& operator=(const Batcher&) = delete;

  // Returns RESOURCE_EXHAUSTED if `queue_limit` riders wait, CANCELLED if the rider was cancelled
  // before, and UNAVAILABLE as Executor::Submit does; then the rider is neither taken along nor
  // dropped.
  absl::Status Add(Rider* rider);

  // Drops the rider if it waits.
  void Cancel(Rider* rider);

 private:
  // A job that takes waiting riders to the database. One more than may be there at one time, so
  // that a ride starts while the one before tells its outcome.
  class Turn : public Job {
   public:
    explicit Turn(Batcher& batcher) : batcher_(batcher) {}
    void Run(Session& session) override { batcher_.Take(*this, session); }
    void Drop(absl::Status why) override { batcher_.TurnBack(*this, why); }

    bool idle = true;  // Guarded by Batcher::mutex_.

   private:
    Batcher& batcher_;
  };

  void Take(Turn& turn, Session& session);
  void TurnBack(Turn& turn, const absl::Status& why);

  // The rest is called with mutex_ held.
  // Sends an idle turn if riders wait and there is room in the database. The executor takes it
  // however full its queue is: the turns are few, and queue_limit bounds those who wait for them.
  absl::Status Send();
  // Lets go of `lock` while it tells them.
  void DropAll(std::unique_lock<std::mutex>& lock, const absl::Status& why);
  std::vector<Rider*> Board();
  void Forget(Rider* rider);

  Executor& executor_;
  const BatcherOptions options_;
  const Ride ride_;

  std::mutex mutex_;
  std::condition_variable idle_;
  std::vector<std::unique_ptr<Turn>> turns_;
  int rides_ = 0;  // Submitted, or in the database.
  // Who waits, by key, and the keys in the order of their turns.
  std::unordered_map<int64_t, std::deque<Rider*>> waiting_;
  std::deque<int64_t> keys_;
  size_t waiting_count_ = 0;
};

}  // namespace energysites::storage

#endif  // STORAGE_INSERTS_BATCHER_H_
