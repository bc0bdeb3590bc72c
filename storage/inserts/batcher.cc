#include "storage/inserts/batcher.h"

#include <algorithm>
#include <utility>

#include "storage/errors/errors.h"

namespace energysites::storage {

Batcher::Batcher(Executor& executor, const BatcherOptions& options, RunBatch run_batch)
    : executor_(executor), options_(options), run_batch_(std::move(run_batch)) {
  for (int i = 0; i <= options_.max_concurrent_batches; ++i) {
    jobs_.push_back(std::make_unique<BatchJob>(*this));
  }
}

Batcher::~Batcher() {
  std::unique_lock<std::mutex> lock(mutex_);
  idle_.wait(lock, [this] {
    return std::all_of(jobs_.begin(), jobs_.end(), [](const auto& job) { return job->idle; });
  });
}

absl::Status Batcher::Add(BatchItem* item) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (item->cancelled_) return absl::CancelledError("call cancelled by the client");
  if (waiting_count_ >= options_.queue_limit) return QueueFull();
  std::deque<BatchItem*>& of_key = waiting_[item->FairnessKey()];
  if (of_key.empty()) keys_.push_back(item->FairnessKey());
  of_key.push_back(item);
  item->waiting_ = true;
  ++waiting_count_;
  const absl::Status submitted = SubmitJob();
  // If other items wait, a job is submitted or running, which takes or drops them.
  if (!submitted.ok()) Remove(item);
  return submitted;
}

void Batcher::Cancel(BatchItem* item) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    item->cancelled_ = true;
    if (!item->waiting_) return;
    Remove(item);
  }
  item->Drop(absl::CancelledError("call cancelled by the client"));
}

absl::Status Batcher::SubmitJob() {
  if (waiting_count_ == 0 || batches_ >= options_.max_concurrent_batches) return absl::OkStatus();
  const auto job = std::find_if(jobs_.begin(), jobs_.end(), [](const auto& j) { return j->idle; });
  // If none is idle, the first job that has reported its results is submitted again.
  if (job == jobs_.end()) return absl::OkStatus();
  const absl::Status submitted = executor_.SubmitAdmitted(job->get());
  if (!submitted.ok()) return submitted;
  (*job)->idle = false;
  ++batches_;
  return absl::OkStatus();
}

void Batcher::RunJob(BatchJob& job, Session& session) {
  std::unique_lock<std::mutex> lock(mutex_);
  const Batch batch = TakeBatch();
  lock.unlock();
  std::function<void()> report;
  if (!batch.empty()) report = run_batch_(session, batch);
  lock.lock();
  --batches_;
  const absl::Status next = SubmitJob();
  if (!next.ok()) DropAll(lock, next);
  lock.unlock();
  if (report != nullptr) report();
  lock.lock();
  job.idle = true;
  const absl::Status submitted = SubmitJob();
  if (!submitted.ok()) {
    // Not idle before the last item is dropped: the destructor may run right afterwards.
    job.idle = false;
    DropAll(lock, submitted);
    job.idle = true;
  }
  idle_.notify_all();
}

void Batcher::Abort(BatchJob& job, const absl::Status& why) {
  std::unique_lock<std::mutex> lock(mutex_);
  --batches_;
  DropAll(lock, why);
  job.idle = true;
  idle_.notify_all();
}

void Batcher::DropAll(std::unique_lock<std::mutex>& lock, const absl::Status& why) {
  Batch dropped;
  for (auto& [key, items] : waiting_) {
    for (BatchItem* item : items) {
      item->waiting_ = false;
      dropped.push_back(item);
    }
  }
  waiting_.clear();
  keys_.clear();
  waiting_count_ = 0;
  lock.unlock();
  for (BatchItem* item : dropped) item->Drop(why);
  lock.lock();
}

Batcher::Batch Batcher::TakeBatch() {
  Batch batch;
  while (waiting_count_ > 0 && batch.size() < options_.max_batch_size) {
    const int64_t key = keys_.front();
    keys_.pop_front();
    const auto of_key = waiting_.find(key);
    batch.push_back(of_key->second.front());
    of_key->second.pop_front();
    batch.back()->waiting_ = false;
    --waiting_count_;
    if (of_key->second.empty()) {
      waiting_.erase(of_key);
    } else {
      keys_.push_back(key);
    }
  }
  return batch;
}

void Batcher::Remove(BatchItem* item) {
  const int64_t key = item->FairnessKey();
  const auto of_key = waiting_.find(key);
  auto& items = of_key->second;
  items.erase(std::find(items.begin(), items.end(), item));
  item->waiting_ = false;
  --waiting_count_;
  if (!items.empty()) return;
  waiting_.erase(of_key);
  keys_.erase(std::find(keys_.begin(), keys_.end(), key));
}

}  // namespace energysites::storage
