// What `energy-sites` is told by flags, environment and files.
#ifndef SERVICES_SERVER_OPTIONS_H_
#define SERVICES_SERVER_OPTIONS_H_

#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "services/admission/caller.h"
#include "storage/maintenance/maintenance.h"
#include "storage/postgres/dsn.h"
#include "storage/postgres/executor.h"
#include "storage/watch/live_data_feed.h"

namespace energysites {

struct ServerOptions {
  std::string listen_address;
  std::string admin_address;  // Empty for none.
  std::set<std::string> services;
  storage::ExecutorOptions executor, export_executor, ingest_executor;
  storage::LiveDataFeedOptions live_data_feed;
  absl::Duration export_stall_timeout;
  // From SIGTERM until no more calls are taken, and then until those under way are cut off.
  absl::Duration drain_delay, drain;
  IdentitySource identity_source = IdentitySource::kNone;
  std::string tls_cert_file, tls_key_file, tls_client_ca_file;  // Empty for none.
  storage::MaintenanceOptions maintenance;
  absl::Duration maintenance_interval;
  std::optional<storage::DsnSource> owner_dsn;  // Nothing if only the app role's was given.
  int max_message_bytes = 0;
  int memory_limit_mib = 0;
  int max_connection_age_minutes = 0;
};

// Sets flags from the command line, over ENERGY_SITES_<FLAG> from the environment. Dashes in the
// names of flags count as underscores. Returns the arguments that are no flags, the program's name
// first. Ends the program with a text and exit code 1 for an unknown flag or a bad value.
std::vector<char*> ParseFlags(int argc, char** argv);

// Return INVALID_ARGUMENT for values that make no sense together.
absl::StatusOr<ServerOptions> ServerOptionsFromFlags();
absl::StatusOr<storage::MaintenanceOptions> MaintenanceOptionsFromFlags();

// DSNs of the app role and of the owner, from DATABASE_URL and MIGRATE_DATABASE_URL (default: the
// same) or the files that flags name, which are read anew; completed by storage::CompleteDsn.
absl::StatusOr<std::string> AppDsn();
absl::StatusOr<std::string> OwnerDsn();

// Whether --print_config is set.
bool PrintConfigWanted();

// All flags with their values and both DSNs, secrets hidden, a line each.
std::string ConfigText();

}  // namespace energysites

#endif  // SERVICES_SERVER_OPTIONS_H_
