#include "services/request_expiry.h"

#include <chrono>

#include "services/log.h"
#include "storage/write_requests.h"

namespace energysites {
namespace {

constexpr std::chrono::seconds kPause(3600);
constexpr std::chrono::seconds kPauseAfterFailure(1);

}  // namespace

RequestExpiry::RequestExpiry(storage::Executor& executor, absl::Duration ttl)
    : executor_(executor), ttl_(ttl), thread_([this] { Repeat(); }) {}

RequestExpiry::~RequestExpiry() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  executor_.Cancel(this);
  thread_.join();
}

void RequestExpiry::Run(storage::Session& session) {
  const auto forgotten = storage::ForgetRequests(session, ttl_);
  // Many are forgotten in parts, so that other calls go between.
  if (forgotten.ok() && *forgotten == storage::kRequestsForgottenAtOnce) {
    return executor_.Requeue(this);
  }
  Finish(forgotten.status());
}

void RequestExpiry::Drop(absl::Status why) { Finish(why); }

void RequestExpiry::Finish(const absl::Status& status) {
  if (!status.ok() && !absl::IsCancelled(status) && !absl::IsUnavailable(status)) {
    Log(spdlog::level::err, "request_ids were not forgotten", {{"fault", status.message()}});
  }
  const std::lock_guard<std::mutex> lock(mutex_);
  failed_ = !status.ok();
  under_way_ = false;
  changed_.notify_all();
}

void RequestExpiry::Repeat() {
  std::unique_lock<std::mutex> lock(mutex_);
  while (!stopping_) {
    under_way_ = true;
    lock.unlock();
    const absl::Status submitted = executor_.Submit(this);
    if (!submitted.ok()) Finish(submitted);
    lock.lock();
    changed_.wait(lock, [this] { return !under_way_; });
    changed_.wait_for(lock, failed_ ? kPauseAfterFailure : kPause, [this] { return stopping_; });
  }
}

}  // namespace energysites
