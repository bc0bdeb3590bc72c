// The executor on a real PostgreSQL, under load from many threads. Runs under ThreadSanitizer too.
#include "storage/postgres/executor.h"

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <future>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <thread>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "google/protobuf/empty.pb.h"
#include "google/rpc/error_details.pb.h"
#include "gtest/gtest.h"
#include "tests/support/matchers.h"
#include "tests/support/postgres.h"

namespace energysites::storage {
namespace {

using google::protobuf::Empty;
using testing_support::DatabaseTest;
using testing_support::DetailOf;
using testing_support::IsOk;
using testing_support::kApp;
using testing_support::StatusIs;

constexpr std::chrono::seconds kPatience(20);

// Counts its calls by the executor; a test can wait for them.
class TestJob : public Job {
 public:
  explicit TestJob(
      std::function<void(Session&)> body = [](Session&) {}, std::string owner = "")
      : body_(std::move(body)), owner_(std::move(owner)) {}

  absl::string_view Owner() const override { return owner_; }

  void Run(Session& session) override {
    body_(session);
    Note(&runs_, absl::OkStatus());
  }
  void Drop(absl::Status why) override { Note(&drops_, std::move(why)); }

  // Waits until it was run or dropped; returns false after a timeout.
  bool Wait() {
    std::unique_lock<std::mutex> lock(mutex_);
    return changed_.wait_for(lock, kPatience, [this] { return runs_ + drops_ > 0; });
  }
  int runs() const { return Read(runs_); }
  int drops() const { return Read(drops_); }
  absl::Status why() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return why_;
  }

 private:
  void Note(int* count, absl::Status why) {
    const std::lock_guard<std::mutex> lock(mutex_);
    ++*count;
    why_ = std::move(why);
    changed_.notify_all();
  }
  int Read(const int& count) const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return count;
  }

  const std::function<void(Session&)> body_;
  const std::string owner_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  int runs_ = 0;
  int drops_ = 0;
  absl::Status why_;
};

// A job that blocks its worker until the test releases it.
class HoldingJob : public TestJob {
 public:
  HoldingJob()
      : TestJob([this](Session&) {
          started_.set_value();
          released_.get_future().wait();
        }) {}
  bool WaitUntilStarted() {
    return started_.get_future().wait_for(kPatience) == std::future_status::ready;
  }
  void Release() { released_.set_value(); }

 private:
  std::promise<void> started_, released_;
};

absl::Status Execute(Session& session, const std::string& sql) {
  return session
      .Transact([&](pqxx::work& tx) -> absl::StatusOr<Empty> {
        tx.exec(sql);
        return Empty();
      })
      .status();
}

ExecutorOptions Offline(int connections, size_t queue_limit) {
  ExecutorOptions options;
  options.connections = connections;
  options.queue_limit = queue_limit;
  return options;
}

TEST(ExecutorTest, RunsInTheOrderSubmitted) {
  Executor executor(Offline(1, 100));
  HoldingJob holder;
  ASSERT_THAT(executor.Submit(&holder), IsOk());
  ASSERT_TRUE(holder.WaitUntilStarted());
  std::vector<int> order;  // Touched by the one worker only.
  std::vector<std::unique_ptr<TestJob>> jobs;
  for (int i = 0; i < 20; ++i) {
    jobs.push_back(std::make_unique<TestJob>([&order, i](Session&) { order.push_back(i); }));
    ASSERT_THAT(executor.Submit(jobs.back().get()), IsOk());
  }
  EXPECT_EQ(executor.queued(), 20u);
  EXPECT_EQ(executor.running(), 1u);
  holder.Release();
  ASSERT_TRUE(jobs.back()->Wait());
  for (int i = 0; i < 20; ++i) EXPECT_EQ(order[i], i);
}

TEST(ExecutorTest, OwnersTakeTurns) {
  Executor executor(Offline(1, 100));
  HoldingJob holder;
  ASSERT_THAT(executor.Submit(&holder), IsOk());
  ASSERT_TRUE(holder.WaitUntilStarted());
  std::vector<std::string> order;  // Touched by the one worker only.
  std::vector<std::unique_ptr<TestJob>> jobs;
  const auto submit = [&](const std::string& owner) {
    jobs.push_back(
        std::make_unique<TestJob>([&order, owner](Session&) { order.push_back(owner); }, owner));
    ASSERT_THAT(executor.Submit(jobs.back().get()), IsOk());
  };
  for (int i = 0; i < 5; ++i) submit("eager");
  submit("a");
  submit("b");
  submit("a");
  submit("gone");
  executor.Cancel(jobs.back().get());
  holder.Release();
  for (const auto& job : jobs) ASSERT_TRUE(job->Wait());
  EXPECT_THAT(order,
              testing::ElementsAre("eager", "a", "b", "eager", "a", "eager", "eager", "eager"));
}

TEST(ExecutorTest, RefusesWhatDoesNotFitIntoTheQueue) {
  Executor executor(Offline(1, 2));
  HoldingJob holder;
  ASSERT_THAT(executor.Submit(&holder), IsOk());
  ASSERT_TRUE(holder.WaitUntilStarted());
  TestJob first, second, third;
  EXPECT_THAT(executor.Submit(&first), IsOk());
  EXPECT_THAT(executor.Submit(&second), IsOk());
  const absl::Status refused = executor.Submit(&third);
  EXPECT_THAT(refused, StatusIs(absl::StatusCode::kResourceExhausted));
  EXPECT_GT(DetailOf<google::rpc::RetryInfo>(refused).retry_delay().seconds(), 0);
  holder.Release();
  EXPECT_TRUE(first.Wait());
  EXPECT_TRUE(second.Wait());
  EXPECT_EQ(third.runs() + third.drops(), 0);
}

TEST(ExecutorTest, DropsAQueuedJobThatIsCancelled) {
  Executor executor(Offline(1, 2));
  HoldingJob holder;
  ASSERT_THAT(executor.Submit(&holder), IsOk());
  ASSERT_TRUE(holder.WaitUntilStarted());
  TestJob cancelled, next, last;
  ASSERT_THAT(executor.Submit(&cancelled), IsOk());
  ASSERT_THAT(executor.Submit(&next), IsOk());
  executor.Cancel(&cancelled);
  EXPECT_EQ(cancelled.drops(), 1);
  EXPECT_THAT(cancelled.why(), StatusIs(absl::StatusCode::kCancelled));
  // Its place in the queue is free, and a second cancellation has no effect.
  EXPECT_THAT(executor.Submit(&last), IsOk());
  executor.Cancel(&cancelled);
  holder.Release();
  EXPECT_TRUE(next.Wait());
  EXPECT_TRUE(last.Wait());
  executor.Cancel(&next);
  EXPECT_EQ(cancelled.runs(), 0);
  EXPECT_EQ(cancelled.drops(), 1);
  EXPECT_EQ(next.runs(), 1);
  EXPECT_EQ(next.drops(), 0);
}

TEST(ExecutorTest, ACancelledJobThatRunsStartsNoFurtherTransaction) {
  Executor executor(Offline(1, 2));
  std::promise<void> started, go_on;
  absl::Status status;
  TestJob job([&](Session& session) {
    started.set_value();
    go_on.get_future().wait();
    while (!session.cancelled()) std::this_thread::yield();
    status = Execute(session, "SELECT 1");
  });
  ASSERT_THAT(executor.Submit(&job), IsOk());
  started.get_future().wait();
  executor.Cancel(&job);
  go_on.set_value();
  ASSERT_TRUE(job.Wait());
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kCancelled));
  EXPECT_EQ(job.drops(), 0);
}

// A job that requeues itself until it has run `parts` times.
class LongJob : public Job {
 public:
  LongJob(Executor& executor, int parts) : executor_(executor), parts_(parts) {}
  void Run(Session&) override {
    if (++ran_ < parts_) return executor_.Requeue(this);
    done_.set_value(absl::OkStatus());
  }
  void Drop(absl::Status why) override { done_.set_value(why); }
  absl::Status Wait() { return done_.get_future().get(); }
  int ran() const { return ran_; }

 private:
  Executor& executor_;
  const int parts_;
  std::atomic<int> ran_ = 0;
  std::promise<absl::Status> done_;
};

TEST(ExecutorTest, ARequeuedJobLetsOthersGoFirst) {
  Executor executor(Offline(1, 1));
  HoldingJob holder;
  ASSERT_THAT(executor.Submit(&holder), IsOk());
  ASSERT_TRUE(holder.WaitUntilStarted());
  LongJob job(executor, 3);
  ASSERT_THAT(executor.Submit(&job), IsOk());
  holder.Release();
  EXPECT_THAT(job.Wait(), IsOk());
  EXPECT_EQ(job.ran(), 3);
}

// Regression: a cancellation of a running job was lost when the job was requeued. Regression: a
// call that was cancelled during its group commit was submitted again afterwards.
TEST(ExecutorTest, AJobThatWasCancelledBeforeIsRefused) {
  Executor executor(Offline(1, 100));
  TestJob job;
  executor.Cancel(&job);
  EXPECT_THAT(executor.Submit(&job), StatusIs(absl::StatusCode::kCancelled));
  EXPECT_THAT(executor.SubmitAdmitted(&job), StatusIs(absl::StatusCode::kCancelled));
}

TEST(ExecutorTest, ACancelledJobIsNotRequeued) {
  Executor executor(Offline(2, 1));
  LongJob job(executor, 1 << 30);
  ASSERT_THAT(executor.Submit(&job), IsOk());
  while (job.ran() < 100) std::this_thread::yield();
  executor.Cancel(&job);
  EXPECT_THAT(job.Wait(), StatusIs(absl::StatusCode::kCancelled));
}

TEST(ExecutorTest, RefusesWhileTheDatabaseIsAway) {
  Executor executor(Offline(1, 2));
  TestJob refused, accepted;
  executor.SetDatabaseAvailable(false);
  const absl::Status status = executor.Submit(&refused);
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_GT(DetailOf<google::rpc::RetryInfo>(status).retry_delay().seconds(), 0);
  executor.SetDatabaseAvailable(true);
  EXPECT_THAT(executor.Submit(&accepted), IsOk());
  EXPECT_TRUE(accepted.Wait());
  EXPECT_EQ(refused.runs() + refused.drops(), 0);
}

// Regression: each job waited some seconds for its own connection.
TEST(ExecutorTest, DropsWhatIsQueuedWhenTheDatabaseGoesAway) {
  Executor executor(Offline(1, 10));
  HoldingJob holder;
  ASSERT_THAT(executor.Submit(&holder), IsOk());
  ASSERT_TRUE(holder.WaitUntilStarted());
  TestJob first, second;
  ASSERT_THAT(executor.Submit(&first), IsOk());
  ASSERT_THAT(executor.Submit(&second), IsOk());
  executor.SetDatabaseAvailable(false);
  holder.Release();
  ASSERT_TRUE(first.Wait());
  ASSERT_TRUE(second.Wait());
  EXPECT_EQ(first.drops() + second.drops(), 2);
  EXPECT_THAT(first.why(), StatusIs(absl::StatusCode::kUnavailable));
  // They are dropped at once, while the worker may still run its job.
  ASSERT_TRUE(holder.Wait());
}

TEST(ExecutorTest, ShutdownDropsWhatWaitsAndWaitsForWhatRuns) {
  HoldingJob holder;
  TestJob queued;
  std::thread shutdown;
  {
    auto executor = std::make_unique<Executor>(Offline(1, 2));
    ASSERT_THAT(executor->Submit(&holder), IsOk());
    ASSERT_TRUE(holder.WaitUntilStarted());
    ASSERT_THAT(executor->Submit(&queued), IsOk());
    shutdown = std::thread([owned = std::move(executor)]() mutable { owned.reset(); });
  }
  ASSERT_TRUE(queued.Wait());
  EXPECT_EQ(queued.drops(), 1);
  EXPECT_THAT(queued.why(), StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_EQ(holder.runs(), 0);
  holder.Release();
  shutdown.join();
  EXPECT_EQ(holder.runs(), 1);
}

class ExecutorOnDatabaseTest : public DatabaseTest {
 protected:
  ExecutorOptions Options(int connections, size_t queue_limit) const {
    ExecutorOptions options = Offline(connections, queue_limit);
    options.session = AppSession();
    return options;
  }
  // Waits, in the database, until a backend of the app role runs a query like `pattern`.
  bool WaitForQuery(const std::string& pattern) {
    return Ask("DO $$ BEGIN FOR i IN 1..2000 LOOP PERFORM pg_stat_clear_snapshot(); "
               "IF EXISTS (SELECT FROM pg_stat_activity WHERE usename = '" +
               std::string(kApp) + "' AND state = 'active' AND query LIKE '" + pattern +
               "') THEN RETURN; END IF; PERFORM pg_sleep(0.01); END LOOP; "
               "RAISE 'never seen'; END $$")
        .empty();
  }
};

TEST_F(ExecutorOnDatabaseTest, CancelStopsTheRunningQueryAndSparesTheNext) {
  Executor executor(Options(1, 10));
  absl::Status slept, next_status;
  TestJob sleeper([&](Session& session) { slept = Execute(session, "SELECT pg_sleep(30)"); });
  TestJob next([&](Session& session) { next_status = Execute(session, "SELECT pg_sleep(0.05)"); });
  const auto start = std::chrono::steady_clock::now();
  ASSERT_THAT(executor.Submit(&sleeper), IsOk());
  ASSERT_THAT(executor.Submit(&next), IsOk());
  ASSERT_TRUE(WaitForQuery("%pg_sleep(30)%"));
  executor.Cancel(&sleeper);
  ASSERT_TRUE(sleeper.Wait());
  ASSERT_TRUE(next.Wait());
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(15));
  EXPECT_EQ(sleeper.runs(), 1);
  EXPECT_THAT(slept, StatusIs(absl::StatusCode::kCancelled));
  EXPECT_THAT(next_status, IsOk());
}

// Regression: a cancellation between two queries of a job was lost, and the next query was not
// cancelled.
TEST_F(ExecutorOnDatabaseTest, CancelReachesAQueryThatStartsAfterIt) {
  Executor executor(Options(1, 10));
  std::promise<void> in_transaction;
  absl::Status slept;
  TestJob job([&](Session& session) {
    slept = session
                .Transact([&](pqxx::work& tx) -> absl::StatusOr<Empty> {
                  tx.exec("SELECT 1");
                  in_transaction.set_value();
                  while (!session.cancelled()) std::this_thread::yield();
                  // Longer than a single cancellation takes.
                  std::this_thread::sleep_for(std::chrono::milliseconds(50));
                  tx.exec("SELECT pg_sleep(30)");
                  return Empty();
                })
                .status();
  });
  const auto start = std::chrono::steady_clock::now();
  ASSERT_THAT(executor.Submit(&job), IsOk());
  in_transaction.get_future().wait();
  executor.Cancel(&job);
  ASSERT_TRUE(job.Wait());
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(10));
  EXPECT_THAT(slept, StatusIs(absl::StatusCode::kCancelled));
}

TEST_F(ExecutorOnDatabaseTest, ShutdownWaitsForARunningQueryThatIsCancelled) {
  absl::Status slept;
  TestJob sleeper([&](Session& session) { slept = Execute(session, "SELECT pg_sleep(30)"); });
  {
    Executor executor(Options(1, 10));
    ASSERT_THAT(executor.Submit(&sleeper), IsOk());
    ASSERT_TRUE(WaitForQuery("%pg_sleep(30)%"));
    executor.Cancel(&sleeper);
  }
  EXPECT_EQ(sleeper.runs(), 1);
  EXPECT_THAT(slept, StatusIs(absl::StatusCode::kCancelled));
}

// Thousands of jobs, half of them cancelled at random times by other threads: for each either Run
// or Drop is called, and a job that was not cancelled is not affected by the cancellation of
// another.
TEST_F(ExecutorOnDatabaseTest, RandomCancellationsHitOnlyTheirJobs) {
  constexpr int kThreads = 4;
  constexpr int kJobsPerThread = 750;
  std::atomic<int> ran = 0, dropped = 0, stopped = 0, wrong = 0;
  const auto submit_and_cancel = [&](Executor& executor, unsigned seed) {
    std::mt19937 random(seed);
    struct Slot {
      std::unique_ptr<TestJob> job;
      absl::Status status;
      bool accepted = false, cancelled = false;
    };
    std::vector<Slot> slots(kJobsPerThread);
    const auto settle = [&](Slot& slot) {
      if (!slot.accepted) {
        wrong += slot.job->runs() + slot.job->drops() != 0;
        return;
      }
      if (!slot.job->Wait()) return void(++wrong);
      wrong += slot.job->runs() + slot.job->drops() != 1;
      ran += slot.job->runs();
      dropped += slot.job->drops();
      if (slot.job->drops() == 1) {
        wrong += !slot.cancelled;
      } else if (absl::IsCancelled(slot.status)) {
        ++stopped;
        wrong += !slot.cancelled;
      } else if (!slot.status.ok()) {
        ++wrong;
        ADD_FAILURE() << slot.status;
      }
    };
    for (int i = 0; i < kJobsPerThread; ++i) {
      Slot& slot = slots[i];
      const char* const sql = random() % 4 == 0 ? "SELECT pg_sleep(0.002)" : "SELECT 1";
      slot.job = std::make_unique<TestJob>(
          [&slot, sql](Session& session) { slot.status = Execute(session, sql); });
      const absl::Status submitted = executor.Submit(slot.job.get());
      slot.accepted = submitted.ok();
      // Some at once, some a few jobs later, when they wait, run or are done.
      const int other = i - static_cast<int>(random() % 12);
      if (random() % 2 == 0 && other >= 0 && slots[other].accepted) {
        slots[other].cancelled = true;
        executor.Cancel(slots[other].job.get());
      }
      // Some while they are certainly running.
      if (i % 250 == 0) {
        std::promise<void> started;
        TestJob sleeper([&](Session& session) {
          started.set_value();
          stopped += absl::IsCancelled(Execute(session, "SELECT pg_sleep(30)"));
        });
        if (executor.Submit(&sleeper).ok()) {
          started.get_future().wait();
          executor.Cancel(&sleeper);
          wrong += !sleeper.Wait() || sleeper.runs() != 1;
        }
      }
      if (i >= 16) slots[i - 16].accepted ? void(slots[i - 16].job->Wait()) : void();
    }
    for (Slot& slot : slots) settle(slot);
  };
  {
    Executor executor(Options(4, 40));
    std::vector<std::thread> threads;
    for (int i = 0; i < kThreads; ++i) {
      threads.emplace_back([&, i] { submit_and_cancel(executor, 1000 + i); });
    }
    for (std::thread& thread : threads) thread.join();
  }
  EXPECT_EQ(wrong, 0);
  EXPECT_GT(ran, kThreads * kJobsPerThread / 4);
  EXPECT_GT(dropped, 0);
  EXPECT_GT(stopped, 0);
}

// Regression: a worker without a connection took jobs, which failed.
TEST_F(ExecutorOnDatabaseTest, AWorkerWithoutAConnectionLeavesJobsToOthers) {
  const auto reach = [](absl::Status& status) {
    return [&status](Session& session) { status = Execute(session, "SELECT"); };
  };
  Executor executor(Options(4, 100));
  absl::Status first, last;
  TestJob connecting(reach(first));
  ASSERT_THAT(executor.Submit(&connecting), IsOk());
  ASSERT_TRUE(connecting.Wait());
  ASSERT_THAT(first, IsOk());
  Ask("ALTER DATABASE " + database_ + " CONNECTION LIMIT 1");
  for (int round = 0; round < 20; ++round) {
    std::vector<absl::Status> outcomes(20, absl::UnknownError("did not run"));
    std::vector<std::unique_ptr<TestJob>> jobs;
    for (absl::Status& outcome : outcomes) {
      jobs.push_back(std::make_unique<TestJob>(reach(outcome)));
      ASSERT_THAT(executor.Submit(jobs.back().get()), IsOk());
    }
    for (const auto& job : jobs) ASSERT_TRUE(job->Wait());
    EXPECT_THAT(outcomes, testing::Each(IsOk()));
  }
  // If no worker has a connection, the job fails with that error.
  Ask("ALTER DATABASE " + database_ + " CONNECTION LIMIT 0");
  Ask("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename <> current_user"
      " AND datname = current_database()");
  TestJob failing(reach(last));
  ASSERT_THAT(executor.Submit(&failing), IsOk());
  ASSERT_TRUE(failing.Wait());
  EXPECT_THAT(last, StatusIs(absl::StatusCode::kUnavailable));
}

// Shutdown concurrent with submissions and cancellations: every job is run or dropped.
TEST_F(ExecutorOnDatabaseTest, ShutdownUnderLoadSettlesEveryJob) {
  for (int round = 0; round < 5; ++round) {
    auto executor = std::make_unique<Executor>(Options(2, 1000));
    std::vector<std::unique_ptr<TestJob>> jobs;
    for (int i = 0; i < 200; ++i) {
      jobs.push_back(std::make_unique<TestJob>(
          [](Session& session) { (void)Execute(session, "SELECT pg_sleep(0.001)"); }));
      ASSERT_THAT(executor->Submit(jobs.back().get()), IsOk());
      if (i % 3 == 0) executor->Cancel(jobs[i / 2].get());
    }
    executor.reset();
    for (const auto& job : jobs) EXPECT_EQ(job->runs() + job->drops(), 1);
  }
}

}  // namespace
}  // namespace energysites::storage
