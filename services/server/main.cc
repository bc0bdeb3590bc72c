// energy-sites serve|migrate|maintain|import|export|version
#include <iostream>
#include <string>
#include <vector>

#include "absl/flags/usage.h"
#include "absl/flags/usage_config.h"
#include "absl/strings/str_cat.h"
#include "clients/cli/export.h"
#include "clients/cli/flags.h"
#include "clients/cli/import.h"
#include "services/operations/log.h"
#include "services/server/options.h"
#include "services/server/server.h"
#include "storage/errors/errors.h"
#include "storage/maintenance/maintenance.h"
#include "storage/migrations/migrator.h"
#include "storage/postgres/dsn.h"
#include "storage/postgres/sql_errors.h"

namespace energysites {
namespace {

constexpr char kUsage[] = R"(stores and serves the data of energy sites.

  energy-sites serve      serve gRPC until SIGTERM
  energy-sites migrate    migrate the database to the schema version of this program
  energy-sites maintain   run all maintenance once: create and drop partitions, recompute rollups,
                          delete expired data
  energy-sites import     load CSV files into a running service
  energy-sites export     write the live data of a site as CSV
  energy-sites version    print the version

Every flag can also be set as ENERGY_SITES_<FLAG> in the environment. DATABASE_URL (app role) and
MIGRATE_DATABASE_URL (owner), or files, specify the database. --help=energy lists the flags.)";

// Returns the exit code for `status` and prints its message if it is an error.
int ExitCode(const absl::Status& status) {
  if (status.ok()) return 0;
  std::cerr << "energy-sites: " << status.message() << "\n";
  return 1;
}

absl::Status RunServe() {
  const absl::StatusOr<ServerOptions> options = ServerOptionsFromFlags();
  if (!options.ok()) return options.status();
  StartLog(spdlog::level::info);
  const absl::Status status = Serve(*options);
  // Logged here, after maintenance has ended.
  if (status.ok()) Log(spdlog::level::info, "stopped", {});
  FlushLog();
  return status;
}

absl::Status RunMigrate() {
  const auto owner = OwnerDsn();
  if (!owner.ok()) return owner.status();
  const auto app = AppDsn();
  if (!app.ok()) return app.status();
  const auto app_user = storage::UserOfDsn(*app);
  if (!app_user.ok()) return app_user.status();
  return storage::Migrate(*owner, *app_user, storage::Migrations(),
                          [](absl::string_view line) { std::cout << "migrate: " << line << "\n"; });
}

// Runs every step, also after a failed one. A postponed step is not a failure: the next run
// continues it.
absl::Status RunMaintain() {
  const auto owner = OwnerDsn();
  if (!owner.ok()) return owner.status();
  const auto options = MaintenanceOptionsFromFlags();
  if (!options.ok()) return options.status();
  std::vector<storage::MaintenanceStep> steps = storage::RowMaintenance(*options);
  for (auto& step : storage::TableMaintenance(*options)) steps.push_back(std::move(step));
  storage::SilenceWatch silence_watch(/*max_backends=*/2);
  storage::Session session(storage::MaintenanceSession(*owner, silence_watch));
  absl::Status failed;
  for (const storage::MaintenanceStep& step : steps) {
    session.Begin();
    const absl::StatusOr<std::string> done = step.run(session);
    if (done.ok()) {
      if (!done->empty()) std::cout << "maintain: " << step.name << ": " << *done << "\n";
    } else if (storage::IsPostponed(done.status())) {
      std::cout << "maintain: " << step.name << ": postponed: " << done.status().message() << "\n";
    } else {
      failed.Update(absl::Status(done.status().code(),
                                 absl::StrCat(step.name, ": ", storage::FaultText(done.status()))));
    }
  }
  if (failed.ok()) std::cout << "maintain: done\n";
  return failed;
}

int Main(int argc, char** argv) {
  absl::SetProgramUsageMessage(kUsage);
  absl::FlagsUsageConfig usage;
  // Flags of this project; --help lists them without Abseil's own.
  usage.contains_help_flags = [](absl::string_view file) {
    return file.find("services/") != file.npos || file.find("clients/") != file.npos;
  };
  usage.version_string = [] { return std::string("energy-sites " ENERGY_SITES_VERSION "\n"); };
  absl::SetFlagsUsageConfig(usage);

  const std::vector<char*> arguments = ParseFlags(argc, argv);
  const std::string command = arguments.size() == 2 ? arguments[1] : "";
  if (IsPrintConfigSet()) {
    std::cout << ConfigText();
    return 0;
  }
  if (command == "serve") return ExitCode(RunServe());
  if (command == "migrate") return ExitCode(RunMigrate());
  if (command == "maintain") return ExitCode(RunMaintain());
  if (command == "import") return RunImport(ImportOptionsFromFlags(), std::cout, std::cerr);
  if (command == "export") return RunExport(ExportOptionsFromFlags(), std::cout, std::cerr);
  if (command == "version") {
    std::cout << "energy-sites " ENERGY_SITES_VERSION "\n";
    return 0;
  }
  std::cerr << "energy-sites: "
            << (command.empty() ? "one command is required" : "unknown command ") << command
            << "\nUsage: energy-sites serve|migrate|maintain|import|export|version [flags]\n";
  return 1;
}

}  // namespace
}  // namespace energysites

int main(int argc, char** argv) { return energysites::Main(argc, argv); }
