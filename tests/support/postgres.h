// A real PostgreSQL for tests.
#ifndef TESTS_SUPPORT_POSTGRES_H_
#define TESTS_SUPPORT_POSTGRES_H_

#include <sys/types.h>

#include <string>

#include "gtest/gtest.h"
#include "storage/postgres/session.h"
#include "tests/support/process.h"

namespace energysites::testing_support {

// The two database roles: the owner, which migrates, and the app role of the server.
constexpr char kOwner[] = "test_owner";
constexpr char kApp[] = "test_app";
constexpr char kSuperuser[] = "postgres";

// A private cluster in a temporary folder, which listens only on a Unix socket. Runs as `postgres`
// if the test runs as root, because PostgreSQL refuses to run as root. Stops at the latest when the
// thread that started it ends.
class PostgresCluster {
 public:
  PostgresCluster();
  ~PostgresCluster();
  PostgresCluster(const PostgresCluster&) = delete;
  PostgresCluster& operator=(const PostgresCluster&) = delete;

  // The cluster that all tests of a binary share; created on first use.
  static PostgresCluster& Shared();

  void Start();
  // Stops the server as `pg_ctl stop --mode=fast`.
  void Stop();

  // Returns a DSN as from storage::CompleteDsn.
  std::string Dsn(const std::string& user, const std::string& database) const;

  // Creates a database that kOwner owns, empty or migrated. Returns its name.
  std::string CreateEmptyDatabase();
  std::string CreateMigratedDatabase();

 private:
  std::string CreateDatabase(const std::string& template_database);

  TempDir dir_;
  pid_t server_ = 0;
  std::string template_;  // The migrated database that others are copies of.
  int databases_ = 0;
};

// Runs statements without a transaction. Returns the first field of the last result, or "" if there
// is none. Throws the exceptions of pqxx.
std::string Query(const std::string& dsn, const std::string& sql);

// Returns the SQLSTATE of the failure of `sql`; "" if it succeeds.
std::string SqlStateOf(const std::string& dsn, const std::string& sql);

// A test with its own migrated database on the shared cluster.
class DatabaseTest : public testing::Test {
 protected:
  std::string Dsn(const std::string& user) const {
    return PostgresCluster::Shared().Dsn(user, database_);
  }
  storage::SessionOptions AppSession() const { return {Dsn(kApp)}; }
  // Runs SQL as the superuser.
  std::string Ask(const std::string& sql) const { return Query(Dsn(kSuperuser), sql); }

  const std::string database_ = PostgresCluster::Shared().CreateMigratedDatabase();
};

}  // namespace energysites::testing_support

#endif  // TESTS_SUPPORT_POSTGRES_H_
