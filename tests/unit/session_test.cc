// A session and its transactions, on a real PostgreSQL.
#include "storage/postgres/session.h"

#include <condition_variable>
#include <functional>
#include <future>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "energysites/v1/configurations.pb.h"
#include "gmock/gmock.h"
#include "google/protobuf/empty.pb.h"
#include "google/rpc/error_details.pb.h"
#include "gtest/gtest.h"
#include "storage/idempotency/write_requests.h"
#include "storage/postgres/sql_errors.h"
#include "storage/sites/site_repository.h"
#include "tests/support/matchers.h"
#include "tests/support/postgres.h"
#include "tests/support/statements.h"

namespace energysites::storage {
namespace {

using google::protobuf::Empty;
using testing_support::AllStatements;
using testing_support::DatabaseTest;
using testing_support::DetailOf;
using testing_support::IsOk;
using testing_support::kApp;
using testing_support::Proto;
using testing_support::Query;
using testing_support::StatusIs;

class SessionTest : public DatabaseTest {
 protected:
  static absl::StatusOr<std::string> Select(Session& session, const std::string& sql) {
    return session.Transact([&](pqxx::work& tx) -> absl::StatusOr<std::string> {
      const pqxx::result rows = tx.exec(sql);
      return rows.empty() ? "" : std::string(rows[0][0].c_str());
    });
  }
};

absl::Status StatusOf(const std::function<void()>& fails) {
  try {
    fails();
  } catch (...) {
    return StatusFromException();
  }
  return absl::OkStatus();
}

// Regression: a connection lost while a statement was prepared was reported as INTERNAL.
TEST(StatusFromExceptionTest, WhatLibpqSaysIsALostConnection) {
  const absl::Status status = StatusOf(
      [] { throw pqxx::sql_error("server closed the connection unexpectedly", "name", nullptr); });
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_EQ(DetailOf<google::rpc::RetryInfo>(status).retry_delay().seconds(), 1);
}

TEST(StatusFromExceptionTest, ADeadlockIsAConflictOfLocks) {
  const absl::Status deadlock =
      StatusOf([] { throw pqxx::deadlock_detected("deadlock detected"); });
  EXPECT_THAT(deadlock, StatusIs(absl::StatusCode::kAborted));
  EXPECT_TRUE(IsLockConflict(deadlock));
  EXPECT_TRUE(IsRetryable(deadlock));
  const absl::Status serialization =
      StatusOf([] { throw pqxx::serialization_failure("could not serialize access"); });
  EXPECT_FALSE(IsLockConflict(serialization));
  EXPECT_TRUE(IsRetryable(serialization));
}

// Regression: libpqxx has separate exception types, without a SQLSTATE, for these errors. They were
// handled as lost connections.
TEST_F(SessionTest, WhatTheServerRefusesIsAFaultOfOurs) {
  Session session(AppSession());
  for (const char* sql :
       {"SELECT * FROM pg_catalog.pg_authid", "SELECT * FROM no_such_table",
        "SELECT no_such_column FROM sites", "SELECT no_such_function()", "SELEC"}) {
    EXPECT_THAT(Select(session, sql).status(), StatusIs(absl::StatusCode::kInternal)) << sql;
  }
}

// Every statement of every repository is SQL that the app role may run.
TEST_F(SessionTest, EveryStatementPrepares) {
  pqxx::connection connection(Dsn(kApp));
  int prepared = 0;
  for (const Statement* statement : AllStatements()) {
    connection.prepare(statement->name, statement->sql);
    EXPECT_NO_THROW(connection.prepare_now(statement->name)) << statement->name;
    ++prepared;
  }
  EXPECT_EQ(Query(Dsn(kApp), "SELECT 1"), "1");
  EXPECT_EQ(pqxx::nontransaction(connection)
                .exec("SELECT count(DISTINCT name) FROM pg_prepared_statements")[0][0]
                .as<int>(),
            prepared);
}

// Independent of the settings of role and database: doubles are exact and OK means on disk.
TEST_F(SessionTest, SettingsHoldAgainstThoseOfTheRole) {
  const std::string role = absl::StrCat("ALTER ROLE ", kApp, " IN DATABASE ", database_, " SET ");
  for (const char* setting :
       {"extra_float_digits = 0", "default_transaction_isolation = 'serializable'",
        "synchronous_commit = off", "timezone = 'Asia/Tokyo'", "search_path = nowhere",
        "statement_timeout = 0", "lock_timeout = 0", "idle_in_transaction_session_timeout = 0"}) {
    Ask(role + setting);
  }
  SessionOptions options = AppSession();
  options.statement_timeout = absl::Seconds(11);
  options.lock_timeout = absl::Milliseconds(1234);
  options.idle_in_transaction_timeout = absl::Seconds(13);
  Session session(options);
  const auto show = [&](const char* name) { return *Select(session, absl::StrCat("SHOW ", name)); };
  EXPECT_EQ(show("statement_timeout"), "11s");
  EXPECT_EQ(show("lock_timeout"), "1234ms");
  EXPECT_EQ(show("idle_in_transaction_session_timeout"), "13s");
  EXPECT_EQ(show("search_path"), "public, pg_temp");
  EXPECT_EQ(show("timezone"), "UTC");
  EXPECT_EQ(show("synchronous_commit"), "on");
  EXPECT_EQ(show("client_encoding"), "UTF8");
  EXPECT_EQ(show("transaction_isolation"), "read committed");
  EXPECT_EQ(*Select(session, "SELECT 0.1::float8 + 0.2::float8"), "0.30000000000000004");
}

// Regression: after a restart of the database the first call on each connection failed, although no
// statement had been sent on it.
TEST_F(SessionTest, AConnectionLostWhileIdleIsReplacedUnnoticed) {
  Session session(AppSession());
  const std::string pid = *Select(session, "SELECT pg_backend_pid()");
  Ask(absl::StrCat("SELECT pg_terminate_backend(", pid, ", 20000)"));
  const auto next = Select(session, "SELECT pg_backend_pid()");
  ASSERT_THAT(next, IsOk());
  EXPECT_NE(*next, pid);
  EXPECT_EQ(*Select(session, "SHOW timezone"), "UTC");
}

// Regression: after a cancelled ROLLBACK the leader continued in the open transaction.
TEST_F(SessionTest, WhoHoldsLocksIsToldThatItsConnectionWasLost) {
  SessionOptions options = AppSession();
  options.holds_locks = true;
  Session session(options);
  const std::vector<std::function<void(const std::string&)>> losses = {
      [&](const std::string& pid) {
        Ask(absl::StrCat("SELECT pg_terminate_backend(", pid, ", 20000)"));
      },
      [&](const std::string&) { PQclear(PQexec(session.connection().raw(), "BEGIN")); }};
  for (const auto& lose : losses) {
    const auto pid = Select(session, "SELECT pg_backend_pid()");
    ASSERT_THAT(pid, IsOk());
    lose(*pid);
    EXPECT_THAT(Select(session, "SELECT 1"), StatusIs(absl::StatusCode::kUnavailable));
    // The other transactions of the step do not run.
    EXPECT_THAT(Select(session, "SELECT 1"), StatusIs(absl::StatusCode::kUnavailable));
    session.Begin();
    EXPECT_THAT(Select(session, "SELECT 1"), IsOk());
  }
}

TEST_F(SessionTest, StatementTimeoutIsDeadlineExceeded) {
  SessionOptions options = AppSession();
  options.statement_timeout = absl::Milliseconds(50);
  Session session(options);
  EXPECT_THAT(Select(session, "SELECT pg_sleep(30)"),
              StatusIs(absl::StatusCode::kDeadlineExceeded));
  EXPECT_THAT(Select(session, "SELECT 1"), IsOk());
}

TEST_F(SessionTest, LockTimeoutIsAbortedWithRetryInfo) {
  Ask("INSERT INTO sites (name, location) VALUES ('Mill', 'Brno')");
  pqxx::connection other(Dsn(kApp));
  pqxx::work holder(other);
  holder.exec("SELECT FROM sites FOR UPDATE");
  SessionOptions options = AppSession();
  options.lock_timeout = absl::Milliseconds(50);
  Session session(options);
  const absl::Status status = Select(session, "UPDATE sites SET name = 'x'").status();
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kAborted));
  EXPECT_GT(DetailOf<google::rpc::RetryInfo>(status).retry_delay().seconds(), 0);
}

TEST_F(SessionTest, ABackendKilledAtWorkIsUnavailableOnceThenConnectedAnew) {
  Session session(AppSession());
  const absl::Status status =
      Select(session, "SELECT pg_terminate_backend(pg_backend_pid())").status();
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_GT(DetailOf<google::rpc::RetryInfo>(status).retry_delay().seconds(), 0);
  EXPECT_EQ(*Select(session, "SHOW lock_timeout"), "5s");
}

// libpqxx would reconnect implicitly, without the settings of the session.
TEST_F(SessionTest, AnIdleTransactionThatWasEndedIsConnectedAnewWithSettings) {
  SessionOptions options = AppSession();
  options.idle_in_transaction_timeout = absl::Milliseconds(50);
  Session session(options);
  const auto idle = session.Transact([&](pqxx::work& tx) -> absl::StatusOr<Empty> {
    tx.exec("SELECT 1");
    while (Ask("SELECT count(*) FROM pg_stat_activity WHERE usename = 'test_app'") != "0") {
    }
    tx.exec("SELECT 1");
    return Empty();
  });
  EXPECT_THAT(idle, StatusIs(absl::StatusCode::kUnavailable));
  EXPECT_EQ(*Select(session, "SHOW lock_timeout"), "5s");
}

TEST_F(SessionTest, AnErrorOfOursIsInternalAndRollsBack) {
  Session session(AppSession());
  const auto result = session.Transact([](pqxx::work& tx) -> absl::StatusOr<Empty> {
    tx.exec("INSERT INTO sites (name, location) VALUES ('Mill', 'Brno')");
    tx.exec("SELECT no_such_column");
    return Empty();
  });
  EXPECT_THAT(result, StatusIs(absl::StatusCode::kInternal));
  EXPECT_EQ(Ask("SELECT count(*) FROM sites"), "0");
}

TEST_F(SessionTest, AValueThatIsNotOkRollsBack) {
  Session session(AppSession());
  const auto result = session.Transact([](pqxx::work& tx) -> absl::StatusOr<Empty> {
    tx.exec("INSERT INTO sites (name, location) VALUES ('Mill', 'Brno')");
    return SiteNotFound(1);
  });
  EXPECT_THAT(result, StatusIs(absl::StatusCode::kNotFound));
  EXPECT_EQ(Ask("SELECT count(*) FROM sites"), "0");
}

// Two transactions lock two rows in opposite order: the aborted one is retried and both succeed.
TEST_F(SessionTest, ADeadlockIsRetried) {
  Ask("INSERT INTO sites (name, location) VALUES ('a', 'x'), ('b', 'x')");
  std::mutex mutex;
  std::condition_variable changed;
  int tries = 0, rows_taken = 0;
  bool one_is_done = false;
  const auto update_both = [&](int first, int second) {
    Session session(AppSession());
    bool is_retry = false;
    const auto result = session.Transact([&](pqxx::work& tx) -> absl::StatusOr<Empty> {
      std::unique_lock<std::mutex> lock(mutex);
      ++tries;
      // Otherwise it could lock its row before the other transaction resumes, and deadlock again.
      if (is_retry) changed.wait(lock, [&] { return one_is_done; });
      is_retry = true;
      lock.unlock();
      tx.exec(absl::StrCat("UPDATE sites SET etag = etag + 1 WHERE id = ", first));
      lock.lock();
      ++rows_taken;
      changed.notify_all();
      changed.wait(lock, [&] { return rows_taken >= 2; });
      lock.unlock();
      tx.exec(absl::StrCat("UPDATE sites SET etag = etag + 1 WHERE id = ", second));
      return Empty();
    });
    const std::lock_guard<std::mutex> lock(mutex);
    one_is_done = true;
    changed.notify_all();
    return result.status();
  };
  auto other = std::async(std::launch::async, [&] { return update_both(2, 1); });
  EXPECT_THAT(update_both(1, 2), IsOk());
  EXPECT_THAT(other.get(), IsOk());
  EXPECT_EQ(tries, 3);
  EXPECT_EQ(Ask("SELECT sum(etag) FROM sites"), "6");
}

TEST_F(SessionTest, TwinsWithOneRequestIdStoreOneRow) {
  constexpr int kTwins = 8;
  const auto request = Proto<v1::CreateSiteRequest>("site { name: 'Mill' location: 'Brno' }");
  const WriteRequest write_request = {kNoSite, "5a8e7f04-0d5a-4a5e-b7a5-3d6a1d1f0a01", "hash"};
  std::vector<std::future<std::string>> twins;
  for (int i = 0; i < kTwins; ++i) {
    twins.push_back(std::async(std::launch::async, [&] {
      Session session(AppSession());
      const auto site = SiteRepository(session).Create(request, write_request);
      return site.ok() ? site->SerializeAsString() : site.status().ToString();
    }));
  }
  const std::string first = twins[0].get();
  v1::Site site;
  EXPECT_TRUE(site.ParseFromString(first) && site.id() > 0) << first;
  for (int i = 1; i < kTwins; ++i) EXPECT_EQ(twins[i].get(), first);
  EXPECT_EQ(Ask("SELECT count(*) FROM sites"), "1");
  EXPECT_EQ(Ask("SELECT count(*) FROM write_requests"), "1");

  Session session(AppSession());
  EXPECT_THAT(
      SiteRepository(session).Create(request, WriteRequest{kNoSite, write_request.request_id, "x"}),
      StatusIs(absl::StatusCode::kAlreadyExists));
}

}  // namespace
}  // namespace energysites::storage
