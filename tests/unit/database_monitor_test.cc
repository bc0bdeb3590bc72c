#include "storage/postgres/database_monitor.h"

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/matchers.h"
#include "tests/support/postgres.h"

namespace energysites::storage {
namespace {

using testing::HasSubstr;
using testing_support::IsOk;
using testing_support::kApp;
using testing_support::kSuperuser;
using testing_support::PostgresCluster;
using testing_support::Query;
using testing_support::StatusIs;

// The reports of the monitor, in order.
class Reports {
 public:
  void Add(const absl::Status& status) {
    const std::lock_guard<std::mutex> lock(mutex_);
    reports_.push_back(status);
    changed_.notify_all();
  }
  // Returns the next report; fails after a timeout.
  absl::Status Next() {
    std::unique_lock<std::mutex> lock(mutex_);
    if (!changed_.wait_for(lock, std::chrono::seconds(20),
                           [this] { return reports_.size() > taken_; })) {
      return absl::DeadlineExceededError("no report came");
    }
    return reports_[taken_++];
  }

  // The number of reports not yet returned.
  size_t waiting() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return reports_.size() - taken_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<absl::Status> reports_;
  size_t taken_ = 0;
};

TEST(DatabaseMonitorTest, TellsUpAwayAndUpAgain) {
  PostgresCluster cluster;
  const std::string dsn = cluster.Dsn(kApp, cluster.CreateMigratedDatabase());
  Reports reports;
  const DatabaseMonitor monitor(dsn, 1, [&](const absl::Status& status) { reports.Add(status); });
  EXPECT_THAT(reports.Next(), IsOk());
  cluster.Stop();
  EXPECT_THAT(reports.Next(), StatusIs(absl::StatusCode::kUnavailable));
  cluster.Start();
  absl::Status status = reports.Next();
  // A starting database has another reason.
  while (absl::IsUnavailable(status)) status = reports.Next();
  EXPECT_THAT(status, IsOk());
}

// Regression: the loss of the monitor's connection was reported as an outage.
TEST(DatabaseMonitorTest, ADeadConnectionIsNoOutage) {
  PostgresCluster& cluster = PostgresCluster::Shared();
  const std::string database = cluster.CreateMigratedDatabase();
  const std::string superuser = cluster.Dsn(kSuperuser, database);
  const auto connections = [&](const char* what) {
    return Query(superuser,
                 absl::StrCat("SELECT ", what, " FROM pg_stat_activity WHERE usename = '", kApp,
                              "' AND datname = current_database()"));
  };
  Reports reports;
  const DatabaseMonitor monitor(cluster.Dsn(kApp, database), 1,
                                [&](const absl::Status& status) { reports.Add(status); });
  ASSERT_THAT(reports.Next(), IsOk());
  for (int i = 0; i < 3; ++i) {
    const std::string pid = connections("max(pid)");
    ASSERT_NE(pid, "");
    connections("pg_terminate_backend(pid, 20000)");
    // The monitor has checked again on a new connection.
    while (connections("count(*)") == "0") std::this_thread::yield();
    EXPECT_NE(connections("max(pid)"), pid);
  }
  EXPECT_EQ(reports.waiting(), 0);
}

TEST(DatabaseMonitorTest, AnOldSchemaCountsAsAway) {
  PostgresCluster& cluster = PostgresCluster::Shared();
  Reports reports;
  const DatabaseMonitor monitor(cluster.Dsn(kApp, cluster.CreateMigratedDatabase()), 1000,
                                [&](const absl::Status& status) { reports.Add(status); });
  EXPECT_THAT(reports.Next(),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("run energy-sites migrate")));
}

TEST(DatabaseMonitorTest, NoDatabaseIsToldAtOnce) {
  Reports reports;
  const DatabaseMonitor monitor(std::string("host=/nowhere"), 1,
                                [&](const absl::Status& status) { reports.Add(status); });
  EXPECT_THAT(reports.Next(), StatusIs(absl::StatusCode::kUnavailable));
}

TEST(DatabaseMonitorTest, TheDsnIsAskedForUntilThereIsOne) {
  PostgresCluster& cluster = PostgresCluster::Shared();
  const std::string dsn = cluster.Dsn(kApp, cluster.CreateMigratedDatabase());
  int asked = 0;  // Used only by the thread of the monitor.
  const DsnSource source([&]() -> absl::StatusOr<std::string> {
    if (++asked == 1) return absl::InvalidArgumentError("cannot read it now");
    return dsn;
  });
  Reports reports;
  const DatabaseMonitor monitor(source, 1,
                                [&](const absl::Status& status) { reports.Add(status); });
  EXPECT_THAT(reports.Next(),
              StatusIs(absl::StatusCode::kUnavailable, HasSubstr("cannot read it now")));
  EXPECT_THAT(reports.Next(), IsOk());
}

}  // namespace
}  // namespace energysites::storage
