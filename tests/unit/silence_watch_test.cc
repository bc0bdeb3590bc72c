// The timeout for a database that does not respond, on a real PostgreSQL.
#include "storage/postgres/silence_watch.h"

#include <atomic>
#include <chrono>
#include <future>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/string_view.h"
#include "energysites/v1/live_data.pb.h"
#include "gmock/gmock.h"
#include "google/protobuf/empty.pb.h"
#include "google/rpc/error_details.pb.h"
#include "gtest/gtest.h"
#include "storage/live_data/live_data_export.h"
#include "storage/postgres/database_monitor.h"
#include "tests/support/matchers.h"
#include "tests/support/postgres.h"

namespace energysites::storage {
namespace {

using google::protobuf::Empty;
using std::chrono::milliseconds;
using testing_support::DatabaseTest;
using testing_support::DetailOf;
using testing_support::IsOk;
using testing_support::kApp;
using testing_support::StatusIs;

constexpr absl::Duration kLimit = absl::Milliseconds(400);
constexpr size_t kMaxBackends = 10;

class SilenceWatchTest : public DatabaseTest {
 protected:
  SessionOptions Options(SilenceWatch& watch, absl::Duration limit = kLimit) {
    SessionOptions options = AppSession();
    options.statement_timeout = absl::ZeroDuration();
    options.silence_watch = &watch;
    options.silence_limit = limit;
    return options;
  }

  // The count is updated after the connection is closed, possibly after the call has failed.
  static void ExpectAbandoned(const std::atomic<int>& abandoned, int count) {
    while (abandoned < count) std::this_thread::yield();
    EXPECT_EQ(abandoned, count);
  }

  // Runs all `statements` in one transaction.
  static absl::Status Run(Session& session, const std::vector<std::string>& statements) {
    return session
        .Transact([&](pqxx::work& tx) -> absl::StatusOr<Empty> {
          for (const std::string& sql : statements) tx.exec(sql);
          return Empty();
        })
        .status();
  }
};

// Regression: a call on a stopped backend never returned, and health was SERVING.
TEST_F(SilenceWatchTest, ASilentConnectionIsEndedAndReplaced) {
  std::atomic<int> abandoned = 0;
  SilenceWatch watch(kMaxBackends, [&] { ++abandoned; });
  Session session(Options(watch));
  const absl::Status status = Run(session, {"SELECT pg_sleep(60)"});
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kDeadlineExceeded));
  EXPECT_EQ(DetailOf<google::rpc::ErrorInfo>(status).reason(), "DATABASE_SILENT");
  // The statement may still commit, so the error must not suggest a retry.
  EXPECT_FALSE(status.GetPayload("type.googleapis.com/google.rpc.RetryInfo").has_value());
  EXPECT_THAT(Run(session, {"SELECT 1"}), IsOk());
  ExpectAbandoned(abandoned, 1);
}

TEST_F(SilenceWatchTest, ATransactionMayTakeLongerThanEachOfItsStatements) {
  SilenceWatch watch(kMaxBackends);
  Session session(Options(watch));
  const std::vector<std::string> statements(10, "SELECT pg_sleep(0.1)");
  EXPECT_THAT(Run(session, statements), IsOk());
}

// The limit applies to silence only: an export and its client may take any time.
TEST_F(SilenceWatchTest, ASlowReaderOfAnExportIsNotSilence) {
  Ask("INSERT INTO sites (name, location) VALUES ('Mill', 'Brno')");
  Ask(R"(INSERT INTO live_data (id, site_id, dt_stamp, soc, load_kwh, net_load_kwh,
                                pv_notification, bio_notification, cro_notification)
         SELECT n, (SELECT id FROM sites), 'epoch', 1, 1, 1, true, true, true
         FROM generate_series(1, 3) AS n)");
  SilenceWatch watch(kMaxBackends);
  Session session(Options(watch));
  LiveDataRange range;
  range.begin = Moment::BeforeAll();
  range.end = Moment::AfterAll();
  range.fields = {v1::LiveDataEntry::kIdFieldNumber};
  int rows = 0;
  const absl::Status exported = ExportLiveData(session, range, [&](absl::string_view) {
    ++rows;
    // Twice as long as the database may be silent.
    std::this_thread::sleep_for(absl::ToChronoMilliseconds(2 * kLimit));
    return absl::OkStatus();
  });
  EXPECT_THAT(exported, IsOk());
  EXPECT_EQ(rows, 3);
}

TEST_F(SilenceWatchTest, AnIdleConnectionIsNotSilent) {
  std::atomic<int> abandoned = 0;
  SilenceWatch watch(kMaxBackends, [&] { ++abandoned; });
  Session idle(Options(watch)), silent(Options(watch));
  ASSERT_THAT(Run(idle, {"SELECT 1"}), IsOk());
  EXPECT_THAT(Run(silent, {"SELECT pg_sleep(60)"}), StatusIs(absl::StatusCode::kDeadlineExceeded));
  ExpectAbandoned(abandoned, 1);
  EXPECT_TRUE(idle.connected());
}

// Each stopped backend counts against max_connections.
TEST_F(SilenceWatchTest, BackendsAreBounded) {
  SilenceWatch watch(/*max_backends=*/5);
  std::vector<std::unique_ptr<Session>> sessions;
  std::vector<std::future<absl::Status>> runs;
  for (int i = 0; i < 4; ++i) {
    sessions.push_back(std::make_unique<Session>(Options(watch)));
    runs.push_back(std::async(std::launch::async, [&session = *sessions.back()] {
      return Run(session, {"SELECT pg_sleep(60)"});
    }));
  }
  for (auto& run : runs) EXPECT_THAT(run.get(), StatusIs(absl::StatusCode::kDeadlineExceeded));
  EXPECT_EQ(watch.abandoned_backends().size(), 4);
  EXPECT_THAT(Run(*sessions[0], {"SELECT 1"}), IsOk());
  EXPECT_THAT(Run(*sessions[1], {"SELECT 1"}), StatusIs(absl::StatusCode::kUnavailable));

  // The monitor sees when they have ended.
  const DatabaseMonitor monitor(
      Dsn(kApp), 1, [](const absl::Status&) {}, &watch);
  Ask("SELECT pg_terminate_backend(pid, 20000) FROM pg_stat_activity"
      " WHERE query = 'SELECT pg_sleep(60)' AND datname = current_database()");
  while (!watch.abandoned_backends().empty()) std::this_thread::yield();
  EXPECT_THAT(Run(*sessions[1], {"SELECT 1"}), IsOk());
}

TEST_F(SilenceWatchTest, BackendsThatStandStillAreNotForgotten) {
  SilenceWatch watch(/*max_backends=*/10);
  Session session(Options(watch)), other(Options(watch));
  auto run = std::async(std::launch::async, [&] { return Run(other, {"SELECT pg_sleep(60)"}); });
  EXPECT_THAT(Run(session, {"SELECT pg_sleep(61)"}), StatusIs(absl::StatusCode::kDeadlineExceeded));
  EXPECT_THAT(run.get(), StatusIs(absl::StatusCode::kDeadlineExceeded));
  const DatabaseMonitor monitor(
      Dsn(kApp), 1, [](const absl::Status&) {}, &watch);
  Ask("SELECT pg_terminate_backend(pid, 20000) FROM pg_stat_activity"
      " WHERE query = 'SELECT pg_sleep(60)' AND datname = current_database()");
  while (watch.abandoned_backends().size() == 2) std::this_thread::yield();
  const std::string left =
      Ask("SELECT pid FROM pg_stat_activity"
          " WHERE query = 'SELECT pg_sleep(61)' AND datname = current_database()");
  EXPECT_THAT(watch.abandoned_backends(), testing::ElementsAre(std::stoi(left)));
}

// Regression: with a stopped database, a call without a deadline never returned.
TEST_F(SilenceWatchTest, AbandonEndsAQuery) {
  Session session(AppSession());
  ASSERT_THAT(Run(session, {"SELECT 1"}), IsOk());
  auto waiting =
      std::async(std::launch::async, [&] { return Run(session, {"SELECT pg_sleep(30)"}); });
  while (Ask("SELECT count(*) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(30)'") != "1") {
    std::this_thread::yield();
  }
  session.Abandon();
  EXPECT_THAT(waiting.get(), StatusIs(absl::StatusCode::kDeadlineExceeded));
  EXPECT_THAT(Run(session, {"SELECT 1"}), IsOk());
}

}  // namespace
}  // namespace energysites::storage
