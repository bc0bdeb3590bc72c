// A real PostgreSQL for tests.
#ifndef TESTS_SUPPORT_POSTGRES_H_
#define TESTS_SUPPORT_POSTGRES_H_

#include <sys/types.h>

#include <string>

#include "gtest/gtest.h"
#include "storage/postgres/session.h"
#include "tests/support/process.h"

namespace energysites::testing_support {

// The roles of DESIGN: the one who migrates, and the one who serves.
constexpr char kOwner[] = "test_owner";
constexpr char kApp[] = "test_app";
constexpr char kSuperuser[] = "postgres";

// A private cluster in a temporary folder, on a Unix socket there and on no port. Runs as
// `postgres` where the test runs as root, because PostgreSQL refuses root. Ends with the thread
// that started it, at the latest.
class PostgresCluster {
 public:
  PostgresCluster();
  ~PostgresCluster();
  PostgresCluster(const PostgresCluster&) = delete;
  PostgresCluster& operator=(const PostgresCluster&) = delete;

  // The one cluster that the tests of a binary share, made on first use.
  static PostgresCluster& Shared();

  void Start();
  // As `pg_ctl stop --mode=fast`.
  void Stop();

  // As storage::CompleteDsn makes it.
  std::string Dsn(const std::string& user, const std::string& database) const;

  // Makes a database owned by kOwner: empty, or migrated. Returns its name.
  std::string CreateEmptyDatabase();
  std::string CreateMigratedDatabase();

 private:
  std::string CreateDatabase(const std::string& template_database);

  TempDir dir_;
  pid_t server_ = 0;
  std::string template_;  // The migrated database that others are copies of.
  int databases_ = 0;
};

// Runs statements as one would in psql. Returns the first field of the last result, "" for none;
// throws what pqxx throws.
std::string Query(const std::string& dsn, const std::string& sql);

// The SQLSTATE with which `sql` fails, "" if it does not.
std::string SqlStateOf(const std::string& dsn, const std::string& sql);

// A test with a migrated database of its own, on the shared cluster.
class DatabaseTest : public testing::Test {
 protected:
  std::string Dsn(const std::string& user) const {
    return PostgresCluster::Shared().Dsn(user, database_);
  }
  storage::SessionOptions AppSession() const { return {Dsn(kApp)}; }
  // As the superuser, past all that the service does.
  std::string Ask(const std::string& sql) const { return Query(Dsn(kSuperuser), sql); }

  const std::string database_ = PostgresCluster::Shared().CreateMigratedDatabase();
};

}  // namespace energysites::testing_support

#endif  // TESTS_SUPPORT_POSTGRES_H_
