// Batches of concurrent calls, without a database. Also runs under ThreadSanitizer.
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

class TestItem : public BatchItem {
 public:
  explicit TestItem(int64_t key = 0) : key_(key) {}
  int64_t FairnessKey() const override { return key_; }
  void Drop(absl::Status why) override { Settle(why); }
  void Settle(absl::Status status) { settled_.set_value(std::move(status)); }

  absl::Status Wait() {
    auto future = settled_.get_future();
    if (future.wait_for(kPatience) != std::future_status::ready) {
      return absl::DeadlineExceededError("neither run nor dropped");
    }
    return future.get();
  }

 private:
  const int64_t key_;
  std::promise<absl::Status> settled_;  // Throws if it is set twice.
};

// Records the batches. The first one waits for Release.
class RecordingBatcher {
 public:
  RecordingBatcher(Executor& executor, const BatcherOptions& options)
      : batcher_(executor, options,
                 [this](Session&, const Batcher::Batch& batch) { return Run(batch); }) {}

  // Starts the first batch, of one item, behind which others wait.
  void HoldFirstBatch() {
    ASSERT_THAT(batcher_.Add(&first_), IsOk());
    ASSERT_EQ(started_.get_future().wait_for(kPatience), std::future_status::ready);
  }
  void Release() { released_.set_value(); }

  Batcher& batcher() { return batcher_; }
  TestItem& first() { return first_; }
  // The keys of each batch after the first.
  std::vector<std::vector<int64_t>> batches() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return {batches_.begin() + 1, batches_.end()};
  }

 private:
  std::function<void()> Run(const Batcher::Batch& batch) {
    bool is_first;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      is_first = batches_.empty();
      batches_.emplace_back();
      for (BatchItem* item : batch) batches_.back().push_back(item->FairnessKey());
    }
    if (is_first) {
      started_.set_value();
      released_.get_future().wait();
    }
    return [batch] {
      for (BatchItem* item : batch) static_cast<TestItem*>(item)->Settle(absl::OkStatus());
    };
  }

  TestItem first_;
  std::promise<void> started_, released_;
  std::mutex mutex_;
  std::vector<std::vector<int64_t>> batches_;
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
  std::vector<std::unique_ptr<TestItem>> Items(const std::vector<int64_t>& keys) {
    std::vector<std::unique_ptr<TestItem>> items;
    for (const int64_t key : keys) items.push_back(std::make_unique<TestItem>(key));
    return items;
  }

  Executor executor_{ThreeThreads()};
};

TEST_F(BatcherTest, ASingleItemStartsAtOnce) {
  RecordingBatcher batcher(executor_, {10, 1, 100});
  batcher.HoldFirstBatch();
  batcher.Release();
  EXPECT_THAT(batcher.first().Wait(), IsOk());
}

TEST_F(BatcherTest, WaitingItemsShareABatchUpToItsLimit) {
  RecordingBatcher batcher(executor_, {3, 1, 100});
  batcher.HoldFirstBatch();
  auto items = Items({1, 2, 3, 4, 5});
  for (auto& item : items) ASSERT_THAT(batcher.batcher().Add(item.get()), IsOk());
  batcher.Release();
  for (auto& item : items) EXPECT_THAT(item->Wait(), IsOk());
  EXPECT_THAT(batcher.batches(), ElementsAre(ElementsAre(1, 2, 3), ElementsAre(4, 5)));
}

TEST_F(BatcherTest, AKeyWithManyItemsDoesNotDelayOthers) {
  RecordingBatcher batcher(executor_, {3, 1, 100});
  batcher.HoldFirstBatch();
  auto items = Items({7, 7, 7, 7, 8, 9});
  for (auto& item : items) ASSERT_THAT(batcher.batcher().Add(item.get()), IsOk());
  batcher.Release();
  for (auto& item : items) EXPECT_THAT(item->Wait(), IsOk());
  EXPECT_THAT(batcher.batches(), ElementsAre(ElementsAre(7, 8, 9), ElementsAre(7, 7, 7)));
}

TEST_F(BatcherTest, AnItemThatIsCancelledWhileItWaitsIsDropped) {
  RecordingBatcher batcher(executor_, {10, 1, 100});
  batcher.HoldFirstBatch();
  auto items = Items({1, 1, 2});
  for (auto& item : items) ASSERT_THAT(batcher.batcher().Add(item.get()), IsOk());
  batcher.batcher().Cancel(items[1].get());
  batcher.batcher().Cancel(items[2].get());
  batcher.batcher().Cancel(&batcher.first());  // It runs already.
  EXPECT_THAT(items[1]->Wait(), StatusIs(absl::StatusCode::kCancelled));
  EXPECT_THAT(items[2]->Wait(), StatusIs(absl::StatusCode::kCancelled));
  batcher.Release();
  EXPECT_THAT(items[0]->Wait(), IsOk());
  EXPECT_THAT(batcher.first().Wait(), IsOk());
  EXPECT_THAT(batcher.batches(), ElementsAre(ElementsAre(1)));
}

TEST_F(BatcherTest, RefusesItemsBeyondTheQueueLimit) {
  RecordingBatcher batcher(executor_, {10, 1, 2});
  batcher.HoldFirstBatch();
  auto items = Items({1, 2, 3});
  EXPECT_THAT(batcher.batcher().Add(items[0].get()), IsOk());
  EXPECT_THAT(batcher.batcher().Add(items[1].get()), IsOk());
  EXPECT_THAT(batcher.batcher().Add(items[2].get()),
              StatusIs(absl::StatusCode::kResourceExhausted));
  batcher.Release();
  EXPECT_THAT(items[0]->Wait(), IsOk());
  EXPECT_THAT(items[1]->Wait(), IsOk());
}

// Regression: all calls that waited for the next batch were refused if the executor's queue was
// full when a batch ended, although its connection was free.
TEST_F(BatcherTest, AFullExecutorDoesNotRefuseTheNextBatch) {
  FullExecutor executor;
  RecordingBatcher batcher(executor.executor(), {10, 1, 100});
  batcher.HoldFirstBatch();
  auto items = Items({1, 2, 3, 4});
  for (auto& item : items) ASSERT_THAT(batcher.batcher().Add(item.get()), IsOk());
  executor.Fill();
  batcher.Release();
  for (auto& item : items) EXPECT_THAT(item->Wait(), IsOk());
  EXPECT_THAT(batcher.batches(), ElementsAre(ElementsAre(1, 2, 3, 4)));
}

// Regression: calls that came while a batch was running were refused, if one more batch was allowed
// and the executor's queue was full.
TEST_F(BatcherTest, AnItemThatComesDuringABatchWaitsForTheNext) {
  FullExecutor executor;
  RecordingBatcher batcher(executor.executor(), {10, /*max_concurrent_batches=*/2, 100});
  batcher.HoldFirstBatch();
  executor.Fill();
  auto items = Items({1, 2});
  for (auto& item : items) EXPECT_THAT(batcher.batcher().Add(item.get()), IsOk());
  batcher.Release();
  for (auto& item : items) EXPECT_THAT(item->Wait(), IsOk());
}

// Regression, as in the executor: a call that was already cancelled was run.
TEST_F(BatcherTest, AnItemThatWasCancelledBeforeIsNotRun) {
  RecordingBatcher batcher(executor_, {10, 1, 100});
  TestItem cancelled;
  batcher.batcher().Cancel(&cancelled);
  EXPECT_THAT(batcher.batcher().Add(&cancelled), StatusIs(absl::StatusCode::kCancelled));
}

TEST_F(BatcherTest, WithoutADatabaseItemsAreDroppedAndNewOnesRefused) {
  RecordingBatcher batcher(executor_, {10, 1, 100});
  batcher.HoldFirstBatch();
  auto items = Items({1, 2});
  ASSERT_THAT(batcher.batcher().Add(items[0].get()), IsOk());
  executor_.SetDatabaseAvailable(false);
  batcher.Release();
  EXPECT_THAT(items[0]->Wait(), StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_THAT(batcher.first().Wait(), IsOk());
  EXPECT_THAT(batcher.batcher().Add(items[1].get()), StatusIs(absl::StatusCode::kUnavailable));
  executor_.SetDatabaseAvailable(true);
  EXPECT_THAT(batcher.batcher().Add(items[1].get()), IsOk());
  EXPECT_THAT(items[1]->Wait(), IsOk());
}

TEST_F(BatcherTest, WithManyThreadsEachItemIsSettledOnce) {
  constexpr int kThreads = 8, kRounds = 300;
  std::atomic<int> in_database = 0, most_in_database = 0, completed = 0, dropped = 0;
  {
    Batcher batcher(executor_, {16, 2, 1000}, [&](Session&, const Batcher::Batch& batch) {
      const int now = ++in_database;
      for (int most = most_in_database; most < now;) {
        if (most_in_database.compare_exchange_weak(most, now)) break;
      }
      std::this_thread::yield();
      --in_database;
      return [batch] {
        for (BatchItem* item : batch) static_cast<TestItem*>(item)->Settle(absl::OkStatus());
      };
    });
    std::vector<std::thread> threads;
    for (int t = 0; t < kThreads; ++t) {
      threads.emplace_back([&, t] {
        for (int round = 0; round < kRounds; ++round) {
          TestItem item(t % 3);
          if (!batcher.Add(&item).ok()) continue;
          if (round % 5 == 0) batcher.Cancel(&item);
          ++(item.Wait().ok() ? completed : dropped);
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
  }
  EXPECT_EQ(completed + dropped, kThreads * kRounds);
  EXPECT_GE(completed, kThreads * kRounds * 4 / 5);
  EXPECT_LE(most_in_database, 2);
}

}  // namespace
}  // namespace energysites::storage
