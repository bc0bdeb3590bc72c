// Runs database work on a bounded number of threads, one connection each, behind a bounded queue.
#ifndef STORAGE_POSTGRES_EXECUTOR_H_
#define STORAGE_POSTGRES_EXECUTOR_H_

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "storage/postgres/session.h"

namespace energysites::storage {

// A piece of work. Submitted once; the executor then calls exactly one of Run and Drop, on any
// thread, after which it does not touch the job again, unless Run requeued it. The submitter owns
// it and keeps it alive until then, and until its own calls of Executor::Cancel have returned.
class Job {
 public:
  virtual ~Job() = default;
  virtual void Run(Session& session) = 0;
  // The job will not run: CANCELLED, or UNAVAILABLE for want of a database or on shutdown.
  virtual void Drop(absl::Status why) = 0;
  // The caller that it works for. Owners take turns, so that the jobs of one do not delay those of
  // another.
  virtual absl::string_view Owner() const { return ""; }

 private:
  friend class Executor;
  enum class State { kNew, kQueued, kRunning, kDone };
  // The turn of its owner, and the number of the job in the order of queueing.
  using Place = std::pair<uint64_t, uint64_t>;
  State state_ = State::kNew;
  Place place_;            // In the queue, while kQueued.
  absl::Time queue_time_;  // When it was queued.
  size_t worker_ = 0;      // While kRunning.
  bool cancelled_ = false;
};

struct ExecutorOptions {
  int connections = 8;
  // Jobs that may wait while all connections are in use.
  size_t queue_limit = 1000;
  SessionOptions session;
  // Called with the time that a job waited, when it leaves the queue to run; from any thread.
  std::function<void(absl::Duration)> on_wait_over = nullptr;
};

// All methods may be called from any thread and none of them blocks, but for the destructor.
class Executor {
 public:
  explicit Executor(const ExecutorOptions& options);
  // Drops what waits and waits for what runs.
  ~Executor();
  Executor(const Executor&) = delete;
  Executor& operator=(const Executor&) = delete;

  // Returns RESOURCE_EXHAUSTED if the queue is full, UNAVAILABLE while the database is unavailable
  // or the executor shuts down, and CANCELLED if the job was cancelled before; then neither Run nor
  // Drop is called.
  absl::Status Submit(Job* job);

  // The same, but takes the job even if the queue is full: for jobs whose number the caller bounds.
  absl::Status SubmitAdmitted(Job* job);

  // Queues the job again, after the others, for the rest of its work. To be called by its Run, as
  // the last statement. Takes it even if the queue is full; drops it if it was cancelled meanwhile.
  void Requeue(Job* job);

  // Drops the job if it waits; if it runs, cancels its current query and those after it.
  void Cancel(Job* job);

  // Called repeatedly with what the database monitor finds. While the database is unavailable, jobs
  // are refused at once instead of each waiting for a connection, and waiting jobs are dropped. A
  // running job may still get its answer; after kSilence it is abandoned, because it would wait for
  // ever for a database that hangs.
  void SetDatabaseAvailable(bool available);
  static constexpr std::chrono::seconds kSilence{10};

  size_t queued() const;
  size_t running() const;
  size_t connections() const { return workers_.size(); }

 private:
  struct Worker {
    explicit Worker(const SessionOptions& options) : session(options) {}
    Session session;
    bool connected = false;  // As of its last job. Guarded by mutex_, as are the next three.
    Job* running = nullptr;  // For comparison only.
    bool cancel_requested = false;
    bool cancelled = false;  // Session::Cancel was called since the last Begin.
    std::thread thread;
  };

  absl::Status Submit(Job* job, size_t limit);
  // With the lock held.
  void Queue(Job* job);
  Job* TakeFirst();
  // Empties the queue, with mutex_ held; the caller drops the jobs without it.
  std::vector<Job*> TakeQueue();
  void Work(size_t index);
  // Whether to leave the jobs to other workers, because this one cannot connect and they are
  // connected. Connects without `lock`, which is held before and after.
  bool YieldsToConnectedWorkers(Worker& worker, std::unique_lock<std::mutex>& lock);
  // Repeats cancel requests until the jobs have ended.
  void CarryCancellations();

  const size_t queue_limit_;
  const std::function<void(absl::Duration)> on_wait_over_;
  std::atomic<bool> database_available_ = true;
  mutable std::mutex mutex_;
  std::condition_variable job_queued_;
  std::condition_variable stop_;
  std::condition_variable cancel_requested_;
  std::map<Job::Place, Job*> queue_;
  uint64_t queued_ever_ = 0;
  uint64_t turn_ = 0;  // That of the job that was taken last.
  // The turn of the last job that each owner queued.
  std::map<std::string, uint64_t, std::less<>> last_turns_;
  std::optional<std::chrono::steady_clock::time_point> away_since_;
  size_t running_ = 0;
  bool stopping_ = false;
  std::vector<std::unique_ptr<Worker>> workers_;
  std::thread canceller_;
};

}  // namespace energysites::storage

#endif  // STORAGE_POSTGRES_EXECUTOR_H_
