// Lets transactions that run at the same time commit in the order of their sequence numbers.
#ifndef STORAGE_INSERTS_COMMIT_SEQUENCER_H_
#define STORAGE_INSERTS_COMMIT_SEQUENCER_H_

#include <condition_variable>
#include <cstdint>
#include <mutex>

#include "absl/status/status.h"

namespace energysites::storage {

// All methods may be called from any thread. No call of Await blocks for ever if each sequence
// number is started before the next one, and ends with Committed or Fail.
class CommitSequencer {
 public:
  // `sequence` is the last one that is committed already.
  void Start(int64_t sequence) {
    const std::lock_guard<std::mutex> lock(mutex_);
    committed_ = sequence;
  }

  // Blocks until all before `sequence` are committed. Returns the error if one of them failed.
  absl::Status Await(int64_t sequence) {
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, [&] { return committed_ == sequence - 1 || !error_.ok(); });
    return error_;
  }

  // `sequence`, for which Await has returned OK, is committed.
  void Committed(int64_t sequence) {
    const std::lock_guard<std::mutex> lock(mutex_);
    committed_ = sequence;
    changed_.notify_all();
  }

  // No further Await returns OK. The first error is kept.
  void Fail(const absl::Status& error) {
    const std::lock_guard<std::mutex> lock(mutex_);
    error_.Update(error);
    changed_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int64_t committed_ = 0;
  absl::Status error_;
};

}  // namespace energysites::storage

#endif  // STORAGE_INSERTS_COMMIT_SEQUENCER_H_
