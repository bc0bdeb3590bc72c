// Content, order and size of the responses to watchers; without a database. Also runs under
// ThreadSanitizer.
#include "storage/watch/watch_queue.h"

#include <algorithm>
#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <unordered_set>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace energysites::storage {
namespace {

using std::chrono::seconds;
using testing::ElementsAre;
using testing::IsEmpty;

// A stream that records the calls of the queue.
class TestListener : public WatchListener {
 public:
  void Send(WatchAnswer answer) override {
    EXPECT_FALSE(sending) << "two answers at once";
    EXPECT_TRUE(ends.empty()) << "an answer behind the end";
    sending = true;
    answers.push_back(std::move(answer));
  }
  void End(WatchEnd why, const WatchPosition& position) override {
    ends.push_back(why);
    last_answer = position;
  }
  void Cut() override { ++cuts; }

  bool sending = false;
  std::vector<WatchAnswer> answers;
  std::vector<WatchEnd> ends;
  WatchPosition last_answer;
  int cuts = 0;
};

// The entries of `from` < xid <= `to`, one a transaction, of sites 0, 1 and 2 in turn, each as one
// letter.
WatchChunk Chunk(uint64_t from, uint64_t to) {
  WatchChunk chunk = {{from, 1}, {to, 1}, {}};
  for (uint64_t xid = from + 1; xid <= to; ++xid) {
    chunk.entries.push_back({{xid, 1},
                             static_cast<int64_t>(xid % 3),
                             std::string(1, static_cast<char>('a' + xid % 26))});
  }
  return chunk;
}

constexpr WatchPosition At(uint64_t xid) { return {xid, 1}; }

class WatchQueueTest : public testing::Test {
 protected:
  std::unique_ptr<WatchQueue> Queue(std::unordered_set<int64_t> sites = {},
                                    std::optional<WatchPosition> resume = std::nullopt) {
    WatchQueueOptions options;
    options.max_bytes = 3;
    return std::make_unique<WatchQueue>(&listener_, std::move(sites), resume, options);
  }

  // The response was sent.
  void Take(WatchQueue& queue) {
    ASSERT_TRUE(listener_.sending);
    listener_.sending = false;
    queue.Sent(now_);
  }

  std::vector<std::string> Told() const {
    std::vector<std::string> told;
    for (const WatchAnswer& answer : listener_.answers) {
      told.push_back(absl::StrCat(answer.entries, "@", answer.position.xid));
    }
    return told;
  }

  TestListener listener_;
  WatchQueue::Clock::time_point now_{seconds(1000)};
};

TEST_F(WatchQueueTest, BeginsWithAPositionOnly) {
  const auto queue = Queue();
  EXPECT_FALSE(queue->HasBegun());
  queue->Deliver(Chunk(0, 9), now_);
  EXPECT_THAT(Told(), IsEmpty());
  queue->Begin(At(4), now_);
  EXPECT_TRUE(queue->HasBegun());
  EXPECT_THAT(Told(), ElementsAre("@4"));
}

TEST_F(WatchQueueTest, WhatComesMeanwhileIsOneAnswer) {
  const auto queue = Queue();
  queue->Begin(At(0), now_);
  queue->Deliver(Chunk(0, 1), now_);
  queue->Deliver(Chunk(1, 2), now_);
  EXPECT_THAT(Told(), ElementsAre("@0"));
  Take(*queue);
  EXPECT_THAT(Told(), ElementsAre("@0", "bc@2"));
  Take(*queue);
  queue->Deliver(Chunk(2, 3), now_);
  EXPECT_THAT(Told(), ElementsAre("@0", "bc@2", "d@3"));
}

TEST_F(WatchQueueTest, ChunksThatOverlapOrLieElsewhereRepeatAndSkipNothing) {
  const auto queue = Queue();
  queue->Begin(At(2), now_);
  Take(*queue);
  queue->Deliver(Chunk(0, 2), now_);  // Known.
  queue->Deliver(Chunk(3, 5), now_);  // There would be a gap.
  EXPECT_THAT(Told(), ElementsAre("@2"));
  queue->Deliver(Chunk(1, 4), now_);
  EXPECT_THAT(Told(), ElementsAre("@2", "de@4"));
}

TEST_F(WatchQueueTest, AReaderWithoutRoomIsToldTheRestLater) {
  const auto queue = Queue();
  queue->Begin(At(0), now_);
  queue->Deliver(Chunk(0, 5), now_);  // Three fit.
  EXPECT_TRUE(queue->IsBehind());
  EXPECT_EQ(queue->Behind(At(5)), std::nullopt) << "there is no room yet";
  queue->Deliver(Chunk(5, 6), now_);
  Take(*queue);
  EXPECT_THAT(Told(), ElementsAre("@0", "bcd@3"));
  // The next response is prepared while this one is being sent.
  EXPECT_EQ(queue->Behind(At(6)), At(3));
  queue->Deliver(Chunk(3, 6), now_);
  EXPECT_EQ(queue->Behind(At(6)), std::nullopt);
  EXPECT_FALSE(queue->IsBehind());
  Take(*queue);
  EXPECT_THAT(Told(), ElementsAre("@0", "bcd@3", "efg@6"));
}

TEST_F(WatchQueueTest, AResumedWatcherIsBehind) {
  const auto queue = Queue({}, At(2));
  queue->Begin(At(5), now_);
  EXPECT_THAT(Told(), ElementsAre("@2"));
  EXPECT_TRUE(queue->IsBehind());
  EXPECT_EQ(queue->Behind(At(5)), At(2));
  Take(*queue);
  queue->Deliver(Chunk(5, 6), now_);
  queue->Deliver(Chunk(2, 5), now_);
  queue->Deliver(Chunk(5, 6), now_);
  Take(*queue);
  EXPECT_THAT(Told(), ElementsAre("@2", "def@5", "g@6"));
}

TEST_F(WatchQueueTest, OtherSitesMoveThePositionOnly) {
  const auto queue = Queue({1});
  queue->Begin(At(0), now_);
  Take(*queue);
  queue->Deliver(Chunk(0, 3), now_);
  EXPECT_THAT(Told(), ElementsAre("@0", "b@3"));
  Take(*queue);
  queue->Deliver(Chunk(4, 4), now_);
  queue->Deliver(Chunk(3, 3), now_);
  queue->Tick(now_);
  EXPECT_THAT(Told(), ElementsAre("@0", "b@3")) << "nothing is new";

  now_ += seconds(5);
  WatchChunk of_others = Chunk(3, 6);
  for (WatchEntry& entry : of_others.entries) entry.site_id = 2;
  queue->Deliver(of_others, now_);
  queue->Tick(now_);
  EXPECT_THAT(Told(), ElementsAre("@0", "b@3")) << "a position is not worth an answer at once";
  now_ += seconds(6);
  queue->Tick(now_);
  EXPECT_THAT(Told(), ElementsAre("@0", "b@3", "@6"));
}

TEST_F(WatchQueueTest, AQuietOrderIsToldNowAndThen) {
  const auto queue = Queue();
  queue->Begin(At(7), now_);
  Take(*queue);
  now_ += seconds(59);
  queue->Tick(now_);
  EXPECT_THAT(Told(), ElementsAre("@7"));
  now_ += seconds(2);
  queue->Tick(now_);
  EXPECT_THAT(Told(), ElementsAre("@7", "@7"));
}

TEST_F(WatchQueueTest, AStalledReaderIsDroppedAndThenCut) {
  const auto queue = Queue();
  queue->Begin(At(0), now_);
  Take(*queue);
  now_ += seconds(50);
  queue->Tick(now_);
  EXPECT_THAT(listener_.ends, IsEmpty()) << "there is nothing that it could take";
  queue->Deliver(Chunk(0, 2), now_);
  queue->Deliver(Chunk(2, 3), now_);
  now_ += seconds(29);
  queue->Tick(now_);
  EXPECT_THAT(listener_.ends, IsEmpty());
  now_ += seconds(2);
  queue->Tick(now_);
  EXPECT_THAT(listener_.ends, ElementsAre(WatchEnd::kTooSlow));
  EXPECT_EQ(listener_.last_answer, At(2));
  EXPECT_EQ(queue->Behind(At(9)), std::nullopt);
  now_ += seconds(28);
  queue->Tick(now_);
  EXPECT_EQ(listener_.cuts, 0);
  now_ += seconds(2);
  queue->Tick(now_);
  queue->Tick(now_);
  EXPECT_EQ(listener_.cuts, 1);
  queue->Sent(now_);
  EXPECT_THAT(Told(), ElementsAre("@0", "bc@2"));
  EXPECT_THAT(listener_.ends, ElementsAre(WatchEnd::kTooSlow));
}

TEST_F(WatchQueueTest, ADroppedReaderThatTakesItsEndIsNotCut) {
  const auto queue = Queue();
  queue->Begin(At(0), now_);
  now_ += seconds(31);
  queue->Tick(now_);
  EXPECT_THAT(listener_.ends, ElementsAre(WatchEnd::kTooSlow));
  Take(*queue);
  now_ += seconds(100);
  queue->Tick(now_);
  EXPECT_EQ(listener_.cuts, 0);
}

TEST_F(WatchQueueTest, ThereIsOneEndAndNothingBehindIt) {
  const auto queue = Queue();
  queue->End(WatchEnd::kDraining);
  queue->End(WatchEnd::kCancelled);
  queue->Begin(At(0), now_);
  queue->Deliver(Chunk(0, 1), now_);
  EXPECT_THAT(listener_.ends, ElementsAre(WatchEnd::kDraining));
  EXPECT_THAT(Told(), IsEmpty());
}

TEST_F(WatchQueueTest, PositionsThatTheDatabaseHasNotReachedEndAWatcher) {
  const auto known = Queue({}, At(7));
  known->EndIfFrom(8);
  known->Begin(At(7), now_);
  known->EndIfFrom(8);
  EXPECT_THAT(listener_.ends, IsEmpty());
  known->EndIfFrom(7);
  EXPECT_THAT(listener_.ends, ElementsAre(WatchEnd::kUnknownPosition));
  const auto resumed = Queue({}, At(8));
  resumed->EndIfFrom(8);
  EXPECT_THAT(listener_.ends, ElementsAre(WatchEnd::kUnknownPosition, WatchEnd::kUnknownPosition));
}

TEST_F(WatchQueueTest, ADetachedListenerIsNotCalled) {
  const auto queue = Queue();
  queue->Begin(At(0), now_);
  queue->Detach();
  queue->Deliver(Chunk(0, 1), now_);
  queue->Sent(now_);
  queue->Tick(now_ + seconds(100));
  queue->End(WatchEnd::kCancelled);
  EXPECT_THAT(Told(), ElementsAre("@0"));
  EXPECT_THAT(listener_.ends, IsEmpty());
  EXPECT_EQ(listener_.cuts, 0);
}

// A stream whose responses are completed by another thread, as in gRPC.
class ThreadedListener : public WatchListener {
 public:
  ~ThreadedListener() override { Stop(); }
  void Start(WatchQueue* queue) {
    thread = std::thread([this, queue] {
      while (!stopping) {
        if (sending.exchange(false)) queue->Sent(WatchQueue::Clock::now());
        std::this_thread::yield();
      }
    });
  }
  void Stop() {
    stopping = true;
    if (thread.joinable()) thread.join();
  }
  void Send(WatchAnswer answer) override {
    told += answer.entries;
    sending = true;
  }
  void End(WatchEnd, const WatchPosition&) override { ended = true; }
  void Cut() override {}

  std::string told;  // The queue's lock guards it, until Detach.
  std::atomic<bool> sending = false, stopping = false, ended = false;
  std::thread thread;
};

// As the feed does it: what is new for all, then the next piece for one who is behind.
TEST(WatchQueueThreadsTest, AllAreToldAllWhileTheyTakeAndLeave) {
  constexpr uint64_t kLast = 3000;
  constexpr int kWatchers = 4;
  WatchQueueOptions options;
  options.max_bytes = 16;
  std::vector<std::unique_ptr<ThreadedListener>> listeners;
  std::vector<std::unique_ptr<WatchQueue>> queues;
  for (int i = 0; i < kWatchers; ++i) {
    listeners.push_back(std::make_unique<ThreadedListener>());
    queues.push_back(std::make_unique<WatchQueue>(
        listeners.back().get(), std::unordered_set<int64_t>(), std::nullopt, options));
    queues.back()->Begin(At(0), WatchQueue::Clock::now());
    listeners.back()->Start(queues.back().get());
  }
  std::thread leaving([&] { queues[0]->End(WatchEnd::kCancelled); });
  uint64_t head = 0;
  bool all_told = false;
  while (!all_told) {
    const uint64_t next = std::min(head + 10, kLast);
    const WatchChunk chunk = Chunk(head, next);
    for (const auto& queue : queues) queue->Deliver(chunk, WatchQueue::Clock::now());
    head = next;
    all_told = head == kLast;
    for (const auto& queue : queues) {
      const auto from = queue->Behind(At(head));
      if (from.has_value()) {
        queue->Deliver(Chunk(from->xid, std::min(from->xid + 10, head)), WatchQueue::Clock::now());
      }
      all_told = all_told && !queue->IsBehind();
    }
  }
  leaving.join();
  std::string expected;
  for (const WatchEntry& entry : Chunk(0, kLast).entries) expected += entry.bytes;
  for (int i = 0; i < kWatchers; ++i) {
    // Waiting entries are sent with the previous response.
    while (i > 0 && queues[i]->Behind({kLast + 1, 0}) == std::nullopt) std::this_thread::yield();
    queues[i]->Detach();
    listeners[i]->Stop();
    const bool left = i == 0;
    EXPECT_TRUE(left || listeners[i]->told == expected) << i;
  }
  EXPECT_TRUE(listeners[0]->ended);
}

}  // namespace
}  // namespace energysites::storage
