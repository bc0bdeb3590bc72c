// Lets numbered pieces of work, done side by side, take their last step in the order of the
// numbers.
#ifndef STORAGE_INSERTS_TURNSTILE_H_
#define STORAGE_INSERTS_TURNSTILE_H_

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <utility>

#include "absl/status/status.h"

namespace energysites::storage {

// All methods may be called from any thread. Nobody waits for ever, if each number is begun before
// the next one, and ends with Pass or Close.
class Turnstile {
 public:
  // `passed` is the last number that needs not pass any more.
  void Start(int64_t passed) {
    const std::lock_guard<std::mutex> lock(mutex_);
    passed_ = passed;
  }

  // Blocks until all before `number` have passed. Returns why they never will, once it is closed.
  absl::Status Await(int64_t number) {
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, [&] { return passed_ == number - 1 || !closed_.ok(); });
    return closed_;
  }

  // `number`, which has awaited its turn, is done.
  void Pass(int64_t number) {
    const std::lock_guard<std::mutex> lock(mutex_);
    passed_ = number;
    changed_.notify_all();
  }

  // Nobody passes any more, for the reason that came first.
  void Close(const absl::Status& why) {
    const std::lock_guard<std::mutex> lock(mutex_);
    closed_.Update(why);
    changed_.notify_all();
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  int64_t passed_ = 0;
  absl::Status closed_;
};

}  // namespace energysites::storage

#endif  // STORAGE_INSERTS_TURNSTILE_H_
