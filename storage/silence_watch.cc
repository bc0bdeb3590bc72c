#include "storage/silence_watch.h"

#include <algorithm>
#include <utility>

#include "storage/connection.h"

namespace energysites::storage {
namespace {

constexpr std::chrono::milliseconds kPause(100);

}  // namespace

SilenceWatch::SilenceWatch(std::function<void()> on_abandoned, Now now)
    : on_abandoned_(std::move(on_abandoned)),
      now_(std::move(now)),
      replacements_time_(now_()),
      thread_([this] { Run(); }) {}

SilenceWatch::~SilenceWatch() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stopping_ = true;
  }
  stop_.notify_all();
  thread_.join();
}

void SilenceWatch::Add(Connection* connection, Clock::duration limit) {
  const std::lock_guard<std::mutex> lock(mutex_);
  connections_[connection].limit = limit;
}

void SilenceWatch::Remove(Connection* connection) {
  const std::lock_guard<std::mutex> lock(mutex_);
  connections_.erase(connection);
}

bool SilenceWatch::MayConnect() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return ReplacementsLeft(now_()) >= 1;
}

void SilenceWatch::Run() {
  std::unique_lock<std::mutex> lock(mutex_);
  while (!stop_.wait_for(lock, kPause, [this] { return stopping_; })) {
    const int ended = EndSilentConnections();
    if (ended == 0 || on_abandoned_ == nullptr) continue;
    lock.unlock();
    for (int i = 0; i < ended; ++i) on_abandoned_();
    lock.lock();
  }
}

int SilenceWatch::EndSilentConnections() {
  const Clock::time_point now = now_();
  int ended = 0;
  for (auto& [connection, entry] : connections_) {
    const uint64_t progress = connection->progress();
    if (progress != entry.progress || !Connection::IsWaiting(progress)) {
      entry.progress = progress;
      entry.since = now;
    } else if (now - entry.since >= entry.limit && !connection->abandoned()) {
      connection->Abandon();
      ++ended;
    }
  }
  if (ended > 0) {
    replacements_ = ReplacementsLeft(now) - ended;
    replacements_time_ = now;
  }
  return ended;
}

double SilenceWatch::ReplacementsLeft(Clock::time_point now) const {
  const std::chrono::duration<double> passed = now - replacements_time_;
  return std::min<double>(kReplacements, replacements_ + passed / kReplacementPeriod);
}

}  // namespace energysites::storage
