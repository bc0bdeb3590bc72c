#include "storage/postgres/silence_watch.h"

#include <utility>

#include "storage/postgres/connection.h"

namespace energysites::storage {
namespace {

constexpr std::chrono::milliseconds kPause(100);

}  // namespace

SilenceWatch::SilenceWatch(size_t max_backends, std::function<void()> on_abandoned)
    : max_backends_(max_backends),
      on_abandoned_(std::move(on_abandoned)),
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
  return connections_.size() + abandoned_backends_.size() < max_backends_;
}

std::set<int> SilenceWatch::abandoned_backends() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return abandoned_backends_;
}

void SilenceWatch::ForgetBackend(int pid) {
  const std::lock_guard<std::mutex> lock(mutex_);
  abandoned_backends_.erase(pid);
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
  const Clock::time_point now = Clock::now();
  int ended = 0;
  for (auto& [connection, entry] : connections_) {
    const uint64_t progress = connection->progress();
    if (progress != entry.progress || !Connection::IsWaiting(progress)) {
      entry.progress = progress;
      entry.since = now;
    } else if (now - entry.since >= entry.limit && !connection->abandoned()) {
      connection->Abandon();
      abandoned_backends_.insert(connection->backend_pid());
      ++ended;
    }
  }
  return ended;
}

}  // namespace energysites::storage
