// The thread of the feed with concurrent writers, changing watchers and database restarts. Also
// runs under ThreadSanitizer.
#include "storage/watch/live_data_feed.h"

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <unordered_set>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "energysites/v1/live_data.pb.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/matchers.h"
#include "tests/support/postgres.h"

namespace energysites::storage {
namespace {

using testing_support::DatabaseTest;
using testing_support::IsOk;
using testing_support::kApp;
using testing_support::StatusIs;

constexpr std::chrono::seconds kPatience(60);

// A stream that reads each response immediately, on its own thread.
class TestWatcher : public WatchListener {
 public:
  explicit TestWatcher(LiveDataFeed& feed, std::unordered_set<int64_t> sites = {},
                       std::optional<WatchPosition> resume = std::nullopt)
      : feed_(feed) {
    auto queue = feed.Add(this, std::move(sites), resume);
    EXPECT_THAT(queue, IsOk());
    queue_ = *std::move(queue);
    thread_ = std::thread([this] { Take(); });
  }
  ~TestWatcher() override {
    feed_.Remove(queue_);
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      stopping_ = true;
      changed_.notify_all();
    }
    thread_.join();
  }

  void Send(WatchAnswer answer) override {
    v1::WatchLiveDataResponse response;
    EXPECT_TRUE(response.ParseFromString(answer.entries));
    const std::lock_guard<std::mutex> lock(mutex_);
    for (const auto& entry : response.live_data_entries()) ids_.push_back(entry.id());
    position_ = answer.position;
    begun_ = sending_ = true;
    changed_.notify_all();
  }
  void End(WatchEnd, const WatchPosition&) override { ADD_FAILURE() << "the watch ended"; }
  void Cut() override {}

  void AwaitBegin() {
    std::unique_lock<std::mutex> lock(mutex_);
    EXPECT_TRUE(changed_.wait_for(lock, kPatience, [this] { return begun_; }));
  }
  std::vector<int64_t> Await(size_t count) {
    std::unique_lock<std::mutex> lock(mutex_);
    EXPECT_TRUE(changed_.wait_for(lock, kPatience, [&] { return ids_.size() >= count; }));
    return ids_;
  }
  WatchPosition position() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return position_;
  }

 private:
  void Take() {
    std::unique_lock<std::mutex> lock(mutex_);
    while (true) {
      changed_.wait(lock, [this] { return sending_ || stopping_; });
      if (stopping_) return;
      sending_ = false;
      lock.unlock();
      queue_->Sent(WatchQueue::Clock::now());
      if (queue_->IsBehind()) feed_.Wake();
      lock.lock();
    }
  }

  LiveDataFeed& feed_;
  std::shared_ptr<WatchQueue> queue_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool begun_ = false, sending_ = false, stopping_ = false;
  std::vector<int64_t> ids_;
  WatchPosition position_;
  std::thread thread_;
};

class LiveDataFeedTest : public DatabaseTest {
 protected:
  void SetUp() override {
    Ask("INSERT INTO sites (name, location) VALUES ('Mill', 'Brno')");
    Ask("SELECT make_live_data_month('2016-06-01')");
  }

  LiveDataFeedOptions Options() const {
    LiveDataFeedOptions options;
    options.dsn = Dsn(kApp);
    options.on_fault = [](const absl::Status& fault) { ADD_FAILURE() << fault; };
    return options;
  }

  // Stores entries `first` to `last` in one transaction.
  void Write(int first, int last) const {
    Ask(absl::StrCat("INSERT INTO live_data (id, site_id, dt_stamp, soc, load_kwh, net_load_kwh,",
                     " pv_notification, bio_notification, cro_notification)",
                     " SELECT id, (SELECT min(sites.id) FROM sites), '2016-06-01', 1, 1, 1, true,",
                     " true, true FROM generate_series(", first, ",", last, ") AS id"));
  }
};

std::vector<int64_t> Numbers(int64_t first, int64_t last) {
  std::vector<int64_t> numbers;
  for (int64_t number = first; number <= last; ++number) numbers.push_back(number);
  return numbers;
}

TEST_F(LiveDataFeedTest, WatchersComeAndGoWhileOthersWrite) {
  LiveDataFeed feed(Options());
  TestWatcher steady(feed);
  steady.AwaitBegin();
  const WatchPosition start = steady.position();
  std::thread coming_and_going([&] {
    for (int i = 0; i < 20; ++i) {
      TestWatcher watcher(feed, {}, start);
      watcher.AwaitBegin();
    }
  });
  constexpr int kWrites = 20, kEntries = 200;
  std::vector<std::thread> tellers;
  for (int i = 0; i < kWrites; ++i) {
    Write(i * kEntries + 1, (i + 1) * kEntries);
    tellers.emplace_back([&] { feed.EntriesWritten(); });
  }
  for (std::thread& teller : tellers) teller.join();
  coming_and_going.join();
  EXPECT_EQ(steady.Await(kWrites * kEntries), Numbers(1, kWrites * kEntries));
  TestWatcher resumed(feed, {}, start);
  EXPECT_EQ(resumed.Await(kWrites * kEntries), Numbers(1, kWrites * kEntries));
}

// A chunk holds 2,000 entries: neither a full one nor the one after it ends early.
TEST_F(LiveDataFeedTest, ATransactionLargerThanAChunkComesWhole) {
  LiveDataFeed feed(Options());
  TestWatcher watcher(feed);
  watcher.AwaitBegin();
  Write(1, 4000);
  EXPECT_EQ(watcher.Await(4000), Numbers(1, 4000));
  Write(4001, 6001);
  EXPECT_EQ(watcher.Await(6001), Numbers(1, 6001));
}

TEST_F(LiveDataFeedTest, AKilledConnectionIsReplaced) {
  LiveDataFeed feed(Options());
  TestWatcher watcher(feed);
  watcher.AwaitBegin();
  for (int id = 1; id <= 3; ++id) {
    Ask("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = 'test_app'");
    Write(id, id);
    feed.EntriesWritten();
    EXPECT_EQ(watcher.Await(id), Numbers(1, id));
  }
}

class NotificationCounter : public pqxx::notification_receiver {
 public:
  explicit NotificationCounter(pqxx::connection& connection)
      : notification_receiver(connection, "energy_sites_live_data") {}
  void operator()(const std::string&, int) override { ++count; }
  int count = 0;
};

TEST_F(LiveDataFeedTest, WritersNotifyOthersThoughNobodyWatchesHere) {
  LiveDataFeed writers_feed(Options()), watchers_feed(Options());
  TestWatcher watcher(watchers_feed);
  watcher.AwaitBegin();
  pqxx::connection listener(Dsn(kApp));
  NotificationCounter notifications(listener);
  Write(1, 1);
  writers_feed.EntriesWritten();
  listener.await_notification(kPatience.count(), 0);
  EXPECT_GT(notifications.count, 0);
  EXPECT_EQ(watcher.Await(1), Numbers(1, 1));
}

TEST_F(LiveDataFeedTest, NotificationsAreFew) {
  LiveDataFeed feed(Options());
  pqxx::connection listener(Dsn(kApp));
  NotificationCounter notifications(listener);
  const auto start = std::chrono::steady_clock::now();
  while (notifications.count < 5) {
    feed.EntriesWritten();
    listener.get_notifs();
  }
  // The first goes out at once.
  EXPECT_GE(std::chrono::steady_clock::now() - start, std::chrono::milliseconds(4 * 50));
}

TEST_F(LiveDataFeedTest, ThereIsALimit) {
  LiveDataFeedOptions options = Options();
  options.max_watchers = 1;
  LiveDataFeed feed(options);
  auto watcher = std::make_unique<TestWatcher>(feed);
  EXPECT_EQ(feed.watchers(), 1u);
  EXPECT_THAT(feed.Add(watcher.get(), {}, std::nullopt),
              StatusIs(absl::StatusCode::kResourceExhausted));
  watcher.reset();
  EXPECT_EQ(feed.watchers(), 0u);
  TestWatcher(feed).AwaitBegin();
}

// An error is reported once, and watchers wait.
TEST_F(LiveDataFeedTest, AFaultIsToldAndTriedAgain) {
  Ask("ALTER TABLE live_data RENAME COLUMN xid TO xid_");
  std::atomic<int> faults = 0;
  LiveDataFeedOptions options = Options();
  options.on_fault = [&](const absl::Status& fault) {
    EXPECT_THAT(fault, StatusIs(absl::StatusCode::kInternal));
    ++faults;
  };
  LiveDataFeed feed(options);
  TestWatcher watcher(feed);
  while (faults == 0) std::this_thread::yield();
  Ask("ALTER TABLE live_data RENAME COLUMN xid_ TO xid");
  watcher.AwaitBegin();
  EXPECT_EQ(faults, 1);
}

}  // namespace
}  // namespace energysites::storage
