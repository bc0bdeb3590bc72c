// The configuration of `energy-sites` from flags, environment variables and files.
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
  // After SIGTERM: the time in which new calls are still accepted, and then the time in which
  // running calls may finish before they are cancelled.
  absl::Duration drain_delay, drain;
  IdentitySource identity_source = IdentitySource::kNone;
  std::string tls_cert_file, tls_key_file, tls_client_ca_file;  // Empty for none.
  storage::MaintenanceOptions maintenance;
  absl::Duration maintenance_interval;
  std::optional<storage::DsnSource> owner_dsn;  // Not set if only the app role's DSN is set.
  int max_message_bytes = 0;
  int memory_limit_mib = 0;
  int max_connection_age_minutes = 0;
};

// Sets flags from the environment (ENERGY_SITES_<FLAG>) and the command line, which has precedence.
// Flag names may have dashes instead of underscores. Returns the positional arguments, beginning
// with the program name. Ends the program with a message and exit code 1 for an unknown flag or an
// invalid value.
std::vector<char*> ParseFlags(int argc, char** argv);

// Return INVALID_ARGUMENT for values that are out of range or inconsistent.
absl::StatusOr<ServerOptions> ServerOptionsFromFlags();
absl::StatusOr<storage::MaintenanceOptions> MaintenanceOptionsFromFlags();

// Return the DSNs of the app role and of the owner, from DATABASE_URL and MIGRATE_DATABASE_URL
// (default: DATABASE_URL) or from the files in the flags, which are read at each call. The DSNs are
// completed by storage::CompleteDsn.
absl::StatusOr<std::string> AppDsn();
absl::StatusOr<std::string> OwnerDsn();

// Whether --print_config is set.
bool IsPrintConfigSet();

// Returns all flags with their values and both DSNs without secrets, one per line.
std::string ConfigText();

}  // namespace energysites

#endif  // SERVICES_SERVER_OPTIONS_H_
