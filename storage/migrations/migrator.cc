#include "storage/migrations/migrator.h"

#include <map>
#include <pqxx/pqxx>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "storage/errors/errors.h"
#include "storage/postgres/sql_errors.h"

namespace energysites::storage {
namespace {

// A number that is used for no other lock in the database.
constexpr char kLock[] = "SELECT pg_advisory_lock(4932648123)";

constexpr char kCreateHistory[] = R"sql(
  CREATE TABLE IF NOT EXISTS public.schema_migrations (
    version integer PRIMARY KEY,
    name text NOT NULL,
    checksum text NOT NULL,
    apply_time timestamptz NOT NULL DEFAULT now()
  )
)sql";

constexpr char kReadHistory[] = "SELECT version, name, checksum FROM public.schema_migrations";

constexpr char kChecksum[] = "SELECT encode(sha256(convert_to($1, 'UTF8')), 'hex')";

constexpr char kRecord[] =
    "INSERT INTO public.schema_migrations (version, name, checksum) VALUES ($1, $2, $3)";

constexpr char kGrants[] = R"sql(
  GRANT USAGE ON SCHEMA public TO @app;
  GRANT SELECT, INSERT, UPDATE, DELETE
    ON public.sites, public.configurations, public.live_data, public.write_requests,
       public.live_data_rollups, public.live_data_dirty_buckets, public.ingest_sessions,
       public.ingest_refusals TO @app;
  GRANT SELECT ON public.schema_migrations, public.live_data_window TO @app;
  GRANT USAGE ON SEQUENCE public.live_data_numbers TO @app;
  GRANT EXECUTE ON FUNCTION public.make_live_data_month, public.renew_partition_lists TO @app;
)sql";

std::string Checksum(pqxx::transaction_base& tx, const Migration& migration) {
  return tx.exec_params1(kChecksum, migration.sql)[0].as<std::string>();
}

// The migrations that the database does not have. FAILED_PRECONDITION if its history has others.
absl::StatusOr<std::vector<Migration>> Missing(pqxx::connection& connection,
                                               const std::vector<Migration>& migrations) {
  std::map<int, pqxx::row> history;
  pqxx::nontransaction tx(connection);
  for (const pqxx::row& row : tx.exec(kReadHistory)) {
    history.emplace(row["version"].as<int>(), row);
  }
  std::vector<Migration> missing;
  for (const Migration& migration : migrations) {
    const auto applied = history.find(migration.version);
    if (applied == history.end()) {
      missing.push_back(migration);
      continue;
    }
    if (Checksum(tx, migration) != applied->second["checksum"].c_str()) {
      return absl::FailedPreconditionError(
          absl::StrCat("migration ", migration.name,
                       " was changed after it was applied to this database; restore its text and "
                       "put the change into a new migration"));
    }
    history.erase(applied);
  }
  if (!history.empty()) {
    return absl::FailedPreconditionError(
        absl::StrCat("the database has migration ", history.begin()->second["name"].c_str(),
                     ", which this program does not know: it is newer than the program"));
  }
  return missing;
}

// While a transaction waits for its lock, later ones wait behind it.
constexpr char kSetLockTimeout[] = "SET LOCAL lock_timeout = '2s'";
constexpr absl::Duration kPauseBetweenTries = absl::Seconds(1);
constexpr absl::Duration kTimeout = absl::Minutes(5);

absl::Status TryToApply(pqxx::connection& connection, const Migration& migration) {
  try {
    pqxx::work tx(connection);
    tx.exec(kSetLockTimeout);
    tx.exec(migration.sql);
    tx.exec_params0(kRecord, migration.version, migration.name, Checksum(tx, migration));
    tx.commit();
    return absl::OkStatus();
  } catch (...) {
    const absl::Status status = StatusFromException();
    if (!IsLockConflict(status)) throw;
    return status;
  }
}

// Checks the whole history first, so that a refused run changes nothing.
absl::Status Apply(pqxx::connection& connection, const std::vector<Migration>& migrations,
                   const std::function<void(absl::string_view)>& report) {
  pqxx::nontransaction(connection).exec(kCreateHistory);
  const auto missing = Missing(connection, migrations);
  if (!missing.ok()) return missing.status();
  for (const Migration& migration : *missing) {
    report(absl::StrCat("applying ", migration.name));
    const absl::Time limit = absl::Now() + kTimeout;
    while (!TryToApply(connection, migration).ok()) {
      if (absl::Now() > limit) {
        return absl::AbortedError(absl::StrCat(
            "migration ", migration.name,
            " did not get its locks: long transactions hold them; try again when they are over"));
      }
      report("other transactions are in the way; trying again");
      absl::SleepFor(kPauseBetweenTries);
    }
  }
  return absl::OkStatus();
}

void Grant(pqxx::connection& connection, const std::string& app_user) {
  pqxx::work tx(connection);
  if (app_user.empty() || app_user == tx.exec1("SELECT current_user")[0].c_str()) return;
  tx.exec(absl::StrReplaceAll(kGrants, {{"@app", tx.quote_name(app_user)}}));
  tx.commit();
}

}  // namespace

absl::Status Migrate(const std::string& owner_dsn, const std::string& app_user,
                     const std::vector<Migration>& migrations,
                     const std::function<void(absl::string_view)>& report) {
  try {
    pqxx::connection connection(owner_dsn);
    pqxx::nontransaction(connection).exec("SET client_min_messages = warning");
    pqxx::nontransaction(connection).exec(kLock);  // Ends with the connection.
    const absl::Status applied = Apply(connection, migrations, report);
    if (!applied.ok()) return applied;
    Grant(connection, app_user);
    report(absl::StrCat("the schema is at version ", migrations.back().version));
    return absl::OkStatus();
  } catch (const pqxx::broken_connection& error) {
    return absl::UnavailableError(error.what());
  } catch (...) {
    return StatusFromException();
  }
}

}  // namespace energysites::storage
