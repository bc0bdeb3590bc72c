// Rides of concurrent calls, without a database. Runs under ThreadSanitizer too.
#include "storage/inserts/batcher.h"

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <future>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/matchers.h"

namespace energysites::storage {
namespace {

using testing::ElementsAre;
using testing_support::IsOk;
using testing_support::StatusIs;

constexpr std::chrono::seconds kPatience(20);

class TestRider : public Rider {
 public:
  explicit TestRider(int64_t key = 0) : key_(key) {}
  int64_t FairnessKey() const override { return key_; }
  void Drop(absl::Status why) override { Settle(why); }
  void Settle(absl::Status status) { settled_.set_value(std::move(status)); }

  absl::Status Wait() {
    auto future = settled_.get_future();
    if (future.wait_for(kPatience) != std::future_status::ready) {
      return absl::DeadlineExceededError("neither arrived nor dropped");
    }
    return future.get();
  }

 private:
  const int64_t key_;
  std::promise<absl::Status> settled_;  // Throws if it is set twice.
};

// Notes who rode with whom. The first ride waits until the test lets go.
class Line {
 public:
  Line(Executor& executor, const BatcherOptions& options)
      : batcher_(executor, options,
                 [this](Session&, const std::vector<Rider*>& riders) { return Drive(riders); }) {}

  // A rider whose ride is under way; others gather behind it.
  void HoldFirstRide() {
    ASSERT_THAT(batcher_.Add(&first_), IsOk());
    ASSERT_EQ(started_.get_future().wait_for(kPatience), std::future_status::ready);
  }
  void Release() { released_.set_value(); }

  Batcher& batcher() { return batcher_; }
  TestRider& first() { return first_; }
  // The keys of each ride behind the first.
  std::vector<std::vector<int64_t>> rides() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return {rides_.begin() + 1, rides_.end()};
  }

 private:
  std::function<void()> Drive(const std::vector<Rider*>& riders) {
    bool is_first;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      is_first = rides_.empty();
      rides_.emplace_back();
      for (Rider* rider : riders) rides_.back().push_back(rider->FairnessKey());
    }
    if (is_first) {
      started_.set_value();
      released_.get_future().wait();
    }
    return [riders] {
      for (Rider* rider : riders) static_cast<TestRider*>(rider)->Settle(absl::OkStatus());
    };
  }

  TestRider first_;
  std::promise<void> started_, released_;
  std::mutex mutex_;
  std::vector<std::vector<int64_t>> rides_;
  Batcher batcher_;
};

// An executor of one connection, with a queue that other jobs fill.
class FullExecutor {
 public:
  Executor& executor() { return executor_; }

  void Fill() {
    absl::Status submitted;
    while (submitted.ok()) {
      others_.push_back(std::make_unique<IdleJob>());
      submitted = executor_.Submit(others_.back().get());
    }
    ASSERT_THAT(submitted, StatusIs(absl::StatusCode::kResourceExhausted));
  }

 private:
  struct IdleJob : Job {
    void Run(Session&) override {}
    void Drop(absl::Status) override {}
  };
  static ExecutorOptions OneThread() {
    ExecutorOptions options;
    options.connections = 1;
    options.queue_limit = 3;
    return options;
  }

  std::vector<std::unique_ptr<IdleJob>> others_;
  Executor executor_{OneThread()};
};

class BatcherTest : public testing::Test {
 protected:
  static ExecutorOptions ThreeThreads() {
    ExecutorOptions options;
    options.connections = 3;
    return options;
  }
  std::vector<std::unique_ptr<TestRider>> Riders(const std::vector<int64_t>& keys) {
    std::vector<std::unique_ptr<TestRider>> riders;
    for (const int64_t key : keys) riders.push_back(std::make_unique<TestRider>(key));
    return riders;
  }

  Executor executor_{ThreeThreads()};
};

TEST_F(BatcherTest, ALoneRiderStartsAtOnce) {
  Line line(executor_, {10, 1, 100});
  line.HoldFirstRide();
  line.Release();
  EXPECT_THAT(line.first().Wait(), IsOk());
}

TEST_F(BatcherTest, WhoWaitsRidesTogetherUpToTheBound) {
  Line line(executor_, {3, 1, 100});
  line.HoldFirstRide();
  auto riders = Riders({1, 2, 3, 4, 5});
  for (auto& rider : riders) ASSERT_THAT(line.batcher().Add(rider.get()), IsOk());
  line.Release();
  for (auto& rider : riders) EXPECT_THAT(rider->Wait(), IsOk());
  EXPECT_THAT(line.rides(), ElementsAre(ElementsAre(1, 2, 3), ElementsAre(4, 5)));
}

TEST_F(BatcherTest, AFullKeyDoesNotKeepOthersWaiting) {
  Line line(executor_, {3, 1, 100});
  line.HoldFirstRide();
  auto riders = Riders({7, 7, 7, 7, 8, 9});
  for (auto& rider : riders) ASSERT_THAT(line.batcher().Add(rider.get()), IsOk());
  line.Release();
  for (auto& rider : riders) EXPECT_THAT(rider->Wait(), IsOk());
  EXPECT_THAT(line.rides(), ElementsAre(ElementsAre(7, 8, 9), ElementsAre(7, 7, 7)));
}

TEST_F(BatcherTest, WhoCancelsWhileWaitingDoesNotRide) {
  Line line(executor_, {10, 1, 100});
  line.HoldFirstRide();
  auto riders = Riders({1, 1, 2});
  for (auto& rider : riders) ASSERT_THAT(line.batcher().Add(rider.get()), IsOk());
  line.batcher().Cancel(riders[1].get());
  line.batcher().Cancel(riders[2].get());
  line.batcher().Cancel(&line.first());  // Rides already.
  EXPECT_THAT(riders[1]->Wait(), StatusIs(absl::StatusCode::kCancelled));
  EXPECT_THAT(riders[2]->Wait(), StatusIs(absl::StatusCode::kCancelled));
  line.Release();
  EXPECT_THAT(riders[0]->Wait(), IsOk());
  EXPECT_THAT(line.first().Wait(), IsOk());
  EXPECT_THAT(line.rides(), ElementsAre(ElementsAre(1)));
}

TEST_F(BatcherTest, RefusesWhatDoesNotFitIntoTheQueue) {
  Line line(executor_, {10, 1, 2});
  line.HoldFirstRide();
  auto riders = Riders({1, 2, 3});
  EXPECT_THAT(line.batcher().Add(riders[0].get()), IsOk());
  EXPECT_THAT(line.batcher().Add(riders[1].get()), IsOk());
  EXPECT_THAT(line.batcher().Add(riders[2].get()), StatusIs(absl::StatusCode::kResourceExhausted));
  line.Release();
  EXPECT_THAT(riders[0]->Wait(), IsOk());
  EXPECT_THAT(riders[1]->Wait(), IsOk());
}

// Regression: all calls that waited for the next group were refused if the executor's queue was
// full when a group ended, although that very connection was free.
TEST_F(BatcherTest, AFullExecutorDoesNotRefuseTheNextRide) {
  FullExecutor executor;
  Line line(executor.executor(), {10, 1, 100});
  line.HoldFirstRide();
  auto riders = Riders({1, 2, 3, 4});
  for (auto& rider : riders) ASSERT_THAT(line.batcher().Add(rider.get()), IsOk());
  executor.Fill();
  line.Release();
  for (auto& rider : riders) EXPECT_THAT(rider->Wait(), IsOk());
  EXPECT_THAT(line.rides(), ElementsAre(ElementsAre(1, 2, 3, 4)));
}

// Regression: calls that came while a group was under way were refused, if there was room for one
// more group and the executor's queue was full.
TEST_F(BatcherTest, WhoComesDuringARideWaitsForTheNext) {
  FullExecutor executor;
  Line line(executor.executor(), {10, /*concurrent_rides=*/2, 100});
  line.HoldFirstRide();
  executor.Fill();
  auto riders = Riders({1, 2});
  for (auto& rider : riders) EXPECT_THAT(line.batcher().Add(rider.get()), IsOk());
  line.Release();
  for (auto& rider : riders) EXPECT_THAT(rider->Wait(), IsOk());
}

// Regression of the executor's kind: work of a client that has left was begun.
TEST_F(BatcherTest, WhoWasCancelledBeforeDoesNotRide) {
  Line line(executor_, {10, 1, 100});
  TestRider cancelled;
  line.batcher().Cancel(&cancelled);
  EXPECT_THAT(line.batcher().Add(&cancelled), StatusIs(absl::StatusCode::kCancelled));
}

TEST_F(BatcherTest, WithoutADatabaseWhoWaitsIsToldAndNewOnesAreRefused) {
  Line line(executor_, {10, 1, 100});
  line.HoldFirstRide();
  auto riders = Riders({1, 2});
  ASSERT_THAT(line.batcher().Add(riders[0].get()), IsOk());
  executor_.SetDatabaseAvailable(false);
  line.Release();
  EXPECT_THAT(riders[0]->Wait(), StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_THAT(line.first().Wait(), IsOk());
  EXPECT_THAT(line.batcher().Add(riders[1].get()), StatusIs(absl::StatusCode::kUnavailable));
  executor_.SetDatabaseAvailable(true);
  EXPECT_THAT(line.batcher().Add(riders[1].get()), IsOk());
  EXPECT_THAT(riders[1]->Wait(), IsOk());
}

TEST_F(BatcherTest, ManyThreadsLoseNobodyAndServeNobodyTwice) {
  constexpr int kThreads = 8, kRounds = 300;
  std::atomic<int> in_database = 0, most_in_database = 0, arrived = 0, dropped = 0;
  {
    Batcher batcher(executor_, {16, 2, 1000}, [&](Session&, const std::vector<Rider*>& riders) {
      const int now = ++in_database;
      for (int most = most_in_database; most < now;) {
        if (most_in_database.compare_exchange_weak(most, now)) break;
      }
      std::this_thread::yield();
      --in_database;
      return [riders] {
        for (Rider* rider : riders) static_cast<TestRider*>(rider)->Settle(absl::OkStatus());
      };
    });
    std::vector<std::thread> threads;
    for (int t = 0; t < kThreads; ++t) {
      threads.emplace_back([&, t] {
        for (int round = 0; round < kRounds; ++round) {
          TestRider rider(t % 3);
          if (!batcher.Add(&rider).ok()) continue;
          if (round % 5 == 0) batcher.Cancel(&rider);
          ++(rider.Wait().ok() ? arrived : dropped);
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
  }
  EXPECT_EQ(arrived + dropped, kThreads * kRounds);
  EXPECT_GE(arrived, kThreads * kRounds * 4 / 5);
  EXPECT_LE(most_in_database, 2);
}

}  // namespace
}  // namespace energysites::storage
