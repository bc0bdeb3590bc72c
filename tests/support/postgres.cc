#include "tests/support/postgres.h"

#include <libpq-fe.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <memory>
#include <pqxx/pqxx>
#include <stdexcept>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "storage/migrations/migrator.h"
#include "storage/postgres/dsn.h"

// Called by LeakSanitizer. libpqxx 6.4.5 leaks the result of a BEGIN on a connection that the
// server closed: 2 KB for each lost connection.
extern "C" const char* __lsan_default_suppressions() { return "leak:libpqxx-6\n"; }

// Called by ThreadSanitizer. It does not see the atomic reference counts of Status payloads,
// because Debian's Abseil is not instrumented.
extern "C" const char* __tsan_default_suppressions() {
  return "race:absl::*::Status::UnrefNonInlined\n";
}

namespace energysites::testing_support {
namespace {

constexpr char kBin[] = "/usr/lib/postgresql/15/bin/";
constexpr std::chrono::seconds kStartPatience(60);

// Returns the command that runs `command` as the user of the cluster. The server gets SIGQUIT when
// this process ends, also after a crash of the test.
std::vector<std::string> AsPostgres(std::vector<std::string> command) {
  std::vector<std::string> all = {"setpriv", "--pdeathsig=QUIT"};
  if (geteuid() == 0) {
    all.insert(all.end(), {"--reuid=postgres", "--regid=postgres", "--init-groups"});
  }
  all.push_back("--");
  all.insert(all.end(), command.begin(), command.end());
  return all;
}

}  // namespace

PostgresCluster::PostgresCluster() {
  const std::string data = dir_.path() + "/data";
  // This user owns the folder; the user of the server owns its subfolder.
  const std::vector<std::string> folder = {"install", "-d", "-m", "700", data};
  std::vector<std::string> make = folder;
  if (geteuid() == 0) make.insert(make.end() - 1, {"-o", "postgres", "-g", "postgres"});
  const Outcome made = RunProgram(make);
  const Outcome initialised = RunProgram(
      AsPostgres({absl::StrCat(kBin, "initdb"), "--pgdata=" + data, "--no-sync",
                  "--username=postgres", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8"}));
  if (made.exit_code != 0 || initialised.exit_code != 0) {
    throw std::runtime_error("cannot make a cluster: " + made.err + initialised.err);
  }
  Start();
  Query(Dsn(kSuperuser, "postgres"),
        absl::StrCat("CREATE ROLE ", kOwner, " LOGIN; CREATE ROLE ", kApp, " LOGIN"));
}

PostgresCluster::~PostgresCluster() {
  Stop();
  RunProgram({"rm", "-rf", dir_.path() + "/data"});
}

PostgresCluster& PostgresCluster::Shared() {
  static PostgresCluster cluster;
  return cluster;
}

void PostgresCluster::Start() {
  if (server_ != 0) return;
  const std::string data = dir_.path() + "/data";
  const std::string log = dir_.path() + "/log";
  server_ = StartProgram(
      AsPostgres({absl::StrCat(kBin, "postgres"), "-D", data, "-c", "listen_addresses=", "-c",
                  "unix_socket_directories=" + data, "-c", "fsync=off", "-c", "max_connections=50",
                  "-c", "shared_buffers=32MB", "-c", "autovacuum=off"}),
      {}, log, log);
  const auto deadline = std::chrono::steady_clock::now() + kStartPatience;
  while (PQping(Dsn(kSuperuser, "postgres").c_str()) != PQPING_OK) {
    if (waitpid(server_, nullptr, WNOHANG) != 0 || std::chrono::steady_clock::now() > deadline) {
      throw std::runtime_error("PostgreSQL does not start: " + ReadWholeFile(log));
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
}

void PostgresCluster::Stop() {
  if (server_ == 0) return;
  kill(server_, SIGINT);
  WaitFor(server_);
  server_ = 0;
}

std::string PostgresCluster::Dsn(const std::string& user, const std::string& database) const {
  return *storage::CompleteDsn(
      absl::StrCat("host=", dir_.path(), "/data user=", user, " dbname=", database));
}

std::string PostgresCluster::CreateDatabase(const std::string& template_database) {
  const std::string name = absl::StrCat("test_", ++databases_);
  Query(Dsn(kSuperuser, "postgres"),
        absl::StrCat("CREATE DATABASE ", name, " OWNER ", kOwner, " TEMPLATE ", template_database));
  return name;
}

std::string PostgresCluster::CreateEmptyDatabase() { return CreateDatabase("template0"); }

std::string PostgresCluster::CreateMigratedDatabase() {
  if (template_.empty()) {
    const std::string database = CreateEmptyDatabase();
    const absl::Status migrated = storage::Migrate(Dsn(kOwner, database), kApp,
                                                   storage::Migrations(), [](absl::string_view) {});
    if (!migrated.ok()) throw std::runtime_error(migrated.ToString());
    template_ = database;
  }
  return CreateDatabase(template_);
}

std::string Query(const std::string& dsn, const std::string& sql) {
  pqxx::connection connection(dsn);
  const pqxx::result result = pqxx::nontransaction(connection).exec(sql);
  return result.empty() ? "" : result[0][0].c_str();
}

std::string SqlStateOf(const std::string& dsn, const std::string& sql) {
  // Uses libpq, because some exceptions of libpqxx do not have the SQLSTATE.
  const std::unique_ptr<PGconn, decltype(&PQfinish)> connection(PQconnectdb(dsn.c_str()), PQfinish);
  const std::unique_ptr<PGresult, decltype(&PQclear)> result(PQexec(connection.get(), sql.c_str()),
                                                             PQclear);
  const char* const state = PQresultErrorField(result.get(), PG_DIAG_SQLSTATE);
  return state == nullptr ? "" : state;
}

}  // namespace energysites::testing_support
