// Runs concurrent calls of one kind in batches, each with one query.
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

// A call to be run in a batch. The batcher either puts an added item into exactly one batch or
// drops it, on any thread, and does not use it afterwards. The owner keeps the item alive until
// then, and until its own calls of Batcher::Cancel have returned.
class BatchItem {
 public:
  virtual ~BatchItem() = default;
  // Items with the same key are queued in order; different keys are served in turns.
  virtual int64_t FairnessKey() const = 0;
  virtual void Drop(absl::Status why) = 0;

 private:
  friend class Batcher;
  bool waiting_ = false;
  bool cancelled_ = false;
};

struct BatcherOptions {
  size_t max_batch_size = 1;
  // In the database at the same time.
  int max_concurrent_batches = 1;
  size_t queue_limit = 1000;
};

// There is no timer: an item starts at once if a batch may start, and the items that are added
// while batches run make up the next one. All methods may be called from any thread, and only the
// destructor blocks.
class Batcher {
 public:
  using Batch = std::vector<BatchItem*>;
  // Runs the query for a batch and returns a function that reports the results to the items. That
  // function runs after the next batch was submitted.
  using RunBatch = std::function<std::function<void()>(Session&, const Batch&)>;

  // `executor` outlives the batcher.
  Batcher(Executor& executor, const BatcherOptions& options, RunBatch run_batch);
  // Waits for running batches; no item may be waiting.
  ~Batcher();
  Batcher(const Batcher&) = delete;
  Batcher& operator=(const Batcher&) = delete;

  // Returns RESOURCE_EXHAUSTED if `queue_limit` items wait, CANCELLED if the item was cancelled
  // before, and UNAVAILABLE as Executor::Submit does; then the item is neither run nor dropped.
  absl::Status Add(BatchItem* item);

  // Drops the item if it waits.
  void Cancel(BatchItem* item);

 private:
  // Runs one batch of the items that wait when the job starts. There is one job more than batches
  // may run at the same time, so that a batch starts while the one before reports its results.
  class BatchJob : public Job {
   public:
    explicit BatchJob(Batcher& batcher) : batcher_(batcher) {}
    void Run(Session& session) override { batcher_.RunJob(*this, session); }
    void Drop(absl::Status why) override { batcher_.Abort(*this, why); }

    bool idle = true;  // Guarded by Batcher::mutex_.

   private:
    Batcher& batcher_;
  };

  void RunJob(BatchJob& job, Session& session);
  void Abort(BatchJob& job, const absl::Status& why);

  // The rest is called with mutex_ held.
  // Submits an idle job if items wait and a batch may start. The executor accepts it even if its
  // queue is full: the jobs are few, and queue_limit bounds the items.
  absl::Status SubmitJob();
  // Releases `lock` while it drops the items.
  void DropAll(std::unique_lock<std::mutex>& lock, const absl::Status& why);
  Batch TakeBatch();
  void Remove(BatchItem* item);

  Executor& executor_;
  const BatcherOptions options_;
  const RunBatch run_batch_;

  std::mutex mutex_;
  std::condition_variable idle_;
  std::vector<std::unique_ptr<BatchJob>> jobs_;
  int batches_ = 0;  // Submitted, or in the database.
  // The waiting items by key, and the keys in the order in which they are served.
  std::unordered_map<int64_t, std::deque<BatchItem*>> waiting_;
  std::deque<int64_t> keys_;
  size_t waiting_count_ = 0;
};

}  // namespace energysites::storage

#endif  // STORAGE_INSERTS_BATCHER_H_
