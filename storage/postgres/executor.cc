#include "storage/postgres/executor.h"

#include <algorithm>
#include <chrono>
#include <limits>

#include "absl/time/clock.h"

namespace energysites::storage {
namespace {

constexpr std::chrono::milliseconds kCancelPause(50);

// The pause between two attempts of a worker to connect while others are connected.
constexpr std::chrono::milliseconds kConnectPause(250);

}  // namespace

Executor::Executor(const ExecutorOptions& options)
    : queue_limit_(options.queue_limit), on_wait_over_(options.on_wait_over) {
  for (int i = 0; i < options.connections; ++i) {
    workers_.push_back(std::make_unique<Worker>(options.session));
  }
  for (size_t i = 0; i < workers_.size(); ++i) {
    workers_[i]->thread = std::thread([this, i] { Work(i); });
  }
  canceller_ = std::thread([this] { CarryCancellations(); });
}

Executor::~Executor() {
  std::vector<Job*> dropped;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stopping_ = true;
    dropped = TakeQueue();
  }
  job_queued_.notify_all();
  stop_.notify_all();
  for (Job* job : dropped) job->Drop(DatabaseUnavailable("the server is shutting down"));
  for (const auto& worker : workers_) worker->thread.join();
  cancel_requested_.notify_all();
  canceller_.join();
}

absl::Status Executor::Submit(Job* job) { return Submit(job, queue_limit_ + workers_.size()); }

absl::Status Executor::SubmitAdmitted(Job* job) {
  return Submit(job, std::numeric_limits<size_t>::max());
}

absl::Status Executor::Submit(Job* job, size_t limit) {
  if (!database_available_) return DatabaseUnavailable("the database cannot be reached now");
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (stopping_) return DatabaseUnavailable("the server is shutting down");
    if (job->cancelled_) return absl::CancelledError("call cancelled by the client");
    if (queue_.size() + running_ >= limit) return QueueFull();
    Queue(job);
  }
  job_queued_.notify_one();
  return absl::OkStatus();
}

void Executor::Requeue(Job* job) {
  absl::Status why = DatabaseUnavailable("the server is shutting down");
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (job->cancelled_) {
      why = absl::CancelledError("call cancelled by the client");
    } else if (!stopping_) {
      Queue(job);
      job_queued_.notify_one();
      return;
    }
    job->state_ = Job::State::kDone;
  }
  job->Drop(why);
}

void Executor::Cancel(Job* job) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    job->cancelled_ = true;
    if (job->state_ == Job::State::kRunning) {
      Worker& worker = *workers_[job->worker_];
      // Else it has run already, and the worker runs another job.
      if (worker.running == job) {
        worker.cancel_requested = true;
        cancel_requested_.notify_one();
      }
      return;
    }
    if (job->state_ != Job::State::kQueued) return;
    queue_.erase(job->place_);
    job->state_ = Job::State::kDone;
  }
  job->Drop(absl::CancelledError("call cancelled by the client"));
}

void Executor::SetDatabaseAvailable(bool available) {
  std::vector<Job*> dropped;
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    database_available_ = available;
    if (available) {
      away_since_.reset();
    } else {
      dropped = TakeQueue();
      const auto now = std::chrono::steady_clock::now();
      if (!away_since_.has_value()) away_since_ = now;
      for (const auto& worker : workers_) {
        if (worker->running != nullptr && now - *away_since_ >= kSilence) worker->session.Abandon();
      }
    }
  }
  for (Job* job : dropped) job->Drop(DatabaseUnavailable("the database cannot be reached now"));
}

std::vector<Job*> Executor::TakeQueue() {
  std::vector<Job*> taken;
  taken.reserve(queue_.size());
  for (const auto& [place, job] : queue_) {
    job->state_ = Job::State::kDone;
    taken.push_back(job);
  }
  queue_.clear();
  last_turns_.clear();
  return taken;
}

size_t Executor::queued() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return queue_.size();
}

size_t Executor::running() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return running_;
}

void Executor::Queue(Job* job) {
  const auto [last, is_first] = last_turns_.emplace(job->Owner(), turn_);
  if (!is_first) last->second = std::max(last->second + 1, turn_);
  job->place_ = {last->second, ++queued_ever_};
  queue_.emplace(job->place_, job);
  job->state_ = Job::State::kQueued;
  job->queue_time_ = absl::Now();
}

Job* Executor::TakeFirst() {
  const auto [place, job] = *queue_.begin();
  queue_.erase(queue_.begin());
  turn_ = place.first;
  // When the queue is empty, past turns no longer matter.
  const auto last = last_turns_.find(job->Owner());
  if (last->second == turn_) last_turns_.erase(last);
  if (queue_.empty()) last_turns_.clear();
  return job;
}

void Executor::Work(size_t index) {
  Worker& worker = *workers_[index];
  std::unique_lock<std::mutex> lock(mutex_);
  while (true) {
    job_queued_.wait(lock, [this] { return stopping_ || !queue_.empty(); });
    if (stopping_) return;
    // Other workers may have taken the jobs meanwhile.
    if (YieldsToConnectedWorkers(worker, lock) || queue_.empty()) continue;
    Job* const job = TakeFirst();
    job->state_ = Job::State::kRunning;
    job->worker_ = index;
    worker.running = job;
    ++running_;
    lock.unlock();
    if (on_wait_over_ != nullptr) on_wait_over_(absl::Now() - job->queue_time_);
    if (database_available_) {
      job->Run(worker.session);
    } else {
      // Instead of each waiting job trying to connect in vain.
      job->Drop(DatabaseUnavailable("the database cannot be reached now"));
    }
    lock.lock();
    worker.running = nullptr;
    worker.cancel_requested = false;
    if (worker.cancelled) {
      lock.unlock();
      worker.session.Begin();
      lock.lock();
      worker.cancelled = false;
    }
    --running_;
    worker.connected = worker.session.connected();
  }
}

bool Executor::YieldsToConnectedWorkers(Worker& worker, std::unique_lock<std::mutex>& lock) {
  const auto others_are_connected = [&] {
    return std::any_of(workers_.begin(), workers_.end(), [&](const auto& other) {
      return other.get() != &worker && other->connected;
    });
  };
  if (worker.connected || !database_available_ || !others_are_connected()) return false;
  lock.unlock();
  const bool connected = worker.session.TryConnect();
  lock.lock();
  worker.connected = connected;
  if (connected || !others_are_connected()) return false;
  // The job that woke this one is still there.
  job_queued_.notify_one();
  stop_.wait_for(lock, kConnectPause, [this] { return stopping_; });
  return true;
}

void Executor::CarryCancellations() {
  const auto wanted = [](const auto& worker) { return worker->cancel_requested; };
  std::unique_lock<std::mutex> lock(mutex_);
  while (true) {
    cancel_requested_.wait(lock, [&] {
      return std::any_of(workers_.begin(), workers_.end(), wanted) || (stopping_ && running_ == 0);
    });
    if (std::none_of(workers_.begin(), workers_.end(), wanted)) return;
    for (const auto& worker : workers_) {
      if (!worker->cancel_requested) continue;
      worker->cancelled = true;
      worker->session.Cancel();
    }
    // A request that arrived between two queries of the job had no effect: it is repeated until the
    // job has ended.
    cancel_requested_.wait_for(lock, kCancelPause);
  }
}

}  // namespace energysites::storage
