#include "services/server/options.h"

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <map>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/reflection.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "services/server/read_file.h"
#include "storage/postgres/dsn.h"

ABSL_FLAG(std::string, listen_address, "127.0.0.1:50051", "host:port that serves gRPC");
ABSL_FLAG(std::string, admin_address, "127.0.0.1:9464",
          "host:port of /metrics, /livez and /readyz; empty for none");
ABSL_FLAG(std::vector<std::string>, services,
          (std::vector<std::string>{"sites", "configurations", "live_data"}),
          "comma-separated list of the services to serve: sites, configurations, live_data");
ABSL_FLAG(int, database_connections, 8, "database connections for unary calls, 1 to 1000");
ABSL_FLAG(int, export_connections, 4,
          "database connections for exports and downloads, which use one each, 1 to 1000");
ABSL_FLAG(absl::Duration, export_stall_timeout, absl::Minutes(1),
          "an export or download is aborted if its client reads nothing for this long");
ABSL_FLAG(int, ingest_connections, 4, "database connections for IngestLiveData, 1 to 1000");
ABSL_FLAG(int, watch_limit, 1000, "maximum number of WatchLiveData streams, 1 to 100000");
ABSL_FLAG(absl::Duration, watch_stall_timeout, absl::Seconds(30),
          "a WatchLiveData stream is aborted if its client reads nothing for this long");
ABSL_FLAG(int, queue_limit, 1000,
          "maximum number of calls that wait for a database connection, 1 to 1000000");
ABSL_FLAG(absl::Duration, statement_timeout, absl::Seconds(30),
          "maximum time that a statement runs in the database");
ABSL_FLAG(absl::Duration, lock_timeout, absl::Seconds(5),
          "maximum time that a statement waits for a lock");
ABSL_FLAG(absl::Duration, idle_in_transaction_timeout, absl::Seconds(30),
          "maximum time that a transaction is idle");
ABSL_FLAG(
    absl::Duration, drain_delay, absl::ZeroDuration(),
    "how long new calls are accepted after SIGTERM while the health status is NOT_SERVING; set it "
    "to more than the health check interval of the load balancer");
ABSL_FLAG(int, drain_seconds, 10, "time in which running calls may finish after SIGTERM");
ABSL_FLAG(std::string, tls_cert, "",
          "PEM file with the server's certificate chain; empty for no TLS");
ABSL_FLAG(std::string, tls_key, "", "PEM file with the certificate's private key");
ABSL_FLAG(std::string, tls_client_ca, "",
          "PEM file with the CA certificates that verify client certificates, which are then "
          "required; empty for none");
ABSL_FLAG(
    std::string, identity, "none",
    "`envoy`: Envoy, which authenticates with a client certificate, sets the identity of callers "
    "in headers; `none`: callers have no identity");
ABSL_FLAG(absl::Duration, request_id_ttl, absl::Hours(7 * 24),
          "how long the responses of calls with a request_id are kept for retries");
ABSL_FLAG(absl::Duration, ingest_session_ttl, absl::Hours(7 * 24),
          "how long a session of IngestLiveData is kept after its last batch");
ABSL_FLAG(absl::Duration, live_data_retention, absl::InfiniteDuration(),
          "retention period: months of live data are dropped when all of their entries are older; "
          "inf to keep all");
ABSL_FLAG(absl::Duration, maintenance_interval, absl::Seconds(10),
          "pause between two runs of maintenance");
ABSL_FLAG(int, max_message_bytes, 4 << 20, "maximum size of a request message, in bytes");
ABSL_FLAG(int, memory_limit_mib, 48, "maximum memory for requests being received, in MiB");
ABSL_FLAG(int, max_connection_age_minutes, 60,
          "maximum age of a client connection; clients then reconnect, which distributes load to "
          "new instances");
ABSL_FLAG(std::string, database_url_file, "",
          "file with the libpq DSN or URI of the app role, instead of DATABASE_URL");
ABSL_FLAG(std::string, migrate_database_url_file, "",
          "file with the libpq DSN or URI of the owner, instead of MIGRATE_DATABASE_URL");
ABSL_FLAG(bool, print_config, false, "print the configuration without secrets and exit");

namespace energysites {
namespace {

constexpr char kEnvironmentPrefix[] = "ENERGY_SITES_";

// The flags that are defined in this project. Abseil's flags cannot be set in the environment.
std::map<std::string, absl::CommandLineFlag*> ProjectFlags() {
  std::map<std::string, absl::CommandLineFlag*> flags;
  for (const auto& [name, flag] : absl::GetAllFlags()) {
    const std::string file = flag->Filename();
    if (absl::StrContains(file, "services/") || absl::StrContains(file, "clients/")) {
      flags[std::string(name)] = flag;
    }
  }
  return flags;
}

// Sets `flag`. For an invalid value, ends the program with an error that has the name of `source`,
// a flag or a variable, and the expected format.
void SetFlag(absl::CommandLineFlag& flag, absl::string_view source, absl::string_view value) {
  std::string error;
  if (flag.ParseFrom(value, &error)) return;
  if (flag.IsOfType<absl::Duration>()) {
    error =
        absl::StrCat("'", value,
                     "' is not a duration; write a number with a unit, such as 500ms, 5s, 1m30s "
                     "or 24h");
  } else if (flag.IsOfType<int>()) {
    error = absl::StrCat("'", value, "' is not a whole number; write digits alone, such as 10");
  }
  std::cerr << "energy-sites: invalid value of " << source << ": " << error << "\n";
  std::exit(1);
}

void SetFlagsFromEnvironment() {
  for (const auto& [name, flag] : ProjectFlags()) {
    const std::string variable = absl::StrCat(kEnvironmentPrefix, absl::AsciiStrToUpper(name));
    const char* value = std::getenv(variable.c_str());
    if (value != nullptr) SetFlag(*flag, variable, value);
  }
}

// Sets the durations and numbers on the command line, `--flag=value` or `--flag value`, because
// Abseil's errors do not have the expected format.
void SetNumbersFromCommandLine(int argc, char** argv) {
  const auto flags = ProjectFlags();
  for (int i = 1; i < argc && absl::string_view(argv[i]) != "--"; ++i) {
    absl::string_view name = argv[i];
    if (!absl::ConsumePrefix(&name, "-")) continue;
    absl::ConsumePrefix(&name, "-");
    const size_t equals = name.find('=');
    const auto found = flags.find(std::string(name.substr(0, equals)));
    if (found == flags.end()) continue;
    absl::CommandLineFlag& flag = *found->second;
    if (!flag.IsOfType<absl::Duration>() && !flag.IsOfType<int>()) continue;
    const std::string source = absl::StrCat("--", found->first);
    if (equals != name.npos) {
      SetFlag(flag, source, name.substr(equals + 1));
    } else if (i + 1 < argc) {
      SetFlag(flag, source, argv[++i]);
    }
  }
}

absl::StatusOr<std::string> Secret(const std::string& file, const char* variable) {
  if (file.empty()) {
    const char* value = std::getenv(variable);
    return std::string(value == nullptr ? "" : value);
  }
  const absl::StatusOr<std::string> text = ReadFile(file);
  if (!text.ok()) return text;
  // With an empty URL libpq would use its environment variables.
  const std::string secret(absl::StripAsciiWhitespace(*text));
  if (secret.empty()) return absl::InvalidArgumentError(absl::StrCat(file, " is empty"));
  return secret;
}

absl::Status CheckRange(const char* name, int value, int min, int max) {
  if (value >= min && value <= max) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("--", name, " must be from ", min, " to ", max, ", not ", value));
}

absl::Status CheckDuration(const char* name, absl::Duration value, absl::Duration min,
                           absl::Duration max) {
  if (value >= min && value <= max) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("--", name, " must be from ", absl::FormatDuration(min), " to ",
                   absl::FormatDuration(max), ", not ", absl::FormatDuration(value)));
}

// PostgreSQL timeouts are milliseconds in an int, and 0 means no limit.
absl::Status CheckTimeout(const char* name, absl::Duration value) {
  return CheckDuration(name, value, absl::Milliseconds(1), absl::Hours(24));
}

// The DSN of the owner; empty if it is not set.
absl::StatusOr<std::string> ConfiguredOwnerDsn() {
  return Secret(absl::GetFlag(FLAGS_migrate_database_url_file), "MIGRATE_DATABASE_URL");
}

}  // namespace

std::vector<char*> ParseFlags(int argc, char** argv) {
  SetFlagsFromEnvironment();
  for (int i = 1; i < argc && absl::string_view(argv[i]) != "--"; ++i) {
    if (!absl::StartsWith(argv[i], "--")) continue;
    for (char* c = argv[i] + 2; *c != '\0' && *c != '='; ++c) {
      if (*c == '-') *c = '_';
    }
  }
  SetNumbersFromCommandLine(argc, argv);
  return absl::ParseCommandLine(argc, argv);
}

absl::StatusOr<std::string> AppDsn() {
  const auto url = Secret(absl::GetFlag(FLAGS_database_url_file), "DATABASE_URL");
  return url.ok() ? storage::CompleteDsn(*url) : url;
}

absl::StatusOr<std::string> OwnerDsn() {
  const auto url = ConfiguredOwnerDsn();
  if (!url.ok()) return url;
  return url->empty() ? AppDsn() : storage::CompleteDsn(*url);
}

absl::StatusOr<storage::MaintenanceOptions> MaintenanceOptionsFromFlags() {
  constexpr absl::Duration kMinTtl = absl::Seconds(1), kDay = absl::Hours(24);
  storage::MaintenanceOptions options;
  options.request_id_ttl = absl::GetFlag(FLAGS_request_id_ttl);
  options.ingest_session_ttl = absl::GetFlag(FLAGS_ingest_session_ttl);
  options.live_data_retention = absl::GetFlag(FLAGS_live_data_retention);
  absl::Status checks =
      CheckDuration("request_id_ttl", options.request_id_ttl, kMinTtl, 366 * kDay);
  checks.Update(
      CheckDuration("ingest_session_ttl", options.ingest_session_ttl, kMinTtl, 366 * kDay));
  if (options.live_data_retention != absl::InfiniteDuration()) {
    checks.Update(
        CheckDuration("live_data_retention", options.live_data_retention, kDay, 1000 * 366 * kDay));
  }
  if (!checks.ok()) return checks;
  return options;
}

absl::StatusOr<ServerOptions> ServerOptionsFromFlags() {
  absl::Status checks;
  checks.Update(
      CheckRange("database_connections", absl::GetFlag(FLAGS_database_connections), 1, 1000));
  checks.Update(CheckRange("export_connections", absl::GetFlag(FLAGS_export_connections), 1, 1000));
  checks.Update(CheckTimeout("export_stall_timeout", absl::GetFlag(FLAGS_export_stall_timeout)));
  checks.Update(CheckRange("ingest_connections", absl::GetFlag(FLAGS_ingest_connections), 1, 1000));
  checks.Update(CheckRange("watch_limit", absl::GetFlag(FLAGS_watch_limit), 1, 100000));
  checks.Update(CheckTimeout("watch_stall_timeout", absl::GetFlag(FLAGS_watch_stall_timeout)));
  checks.Update(CheckRange("queue_limit", absl::GetFlag(FLAGS_queue_limit), 1, 1000000));
  checks.Update(CheckDuration("drain_delay", absl::GetFlag(FLAGS_drain_delay), absl::ZeroDuration(),
                              absl::Hours(1)));
  checks.Update(CheckRange("drain_seconds", absl::GetFlag(FLAGS_drain_seconds), 0, 3600));
  checks.Update(
      CheckRange("max_message_bytes", absl::GetFlag(FLAGS_max_message_bytes), 1024, 64 << 20));
  checks.Update(CheckRange("memory_limit_mib", absl::GetFlag(FLAGS_memory_limit_mib), 8, 1 << 20));
  checks.Update(CheckRange("max_connection_age_minutes",
                           absl::GetFlag(FLAGS_max_connection_age_minutes), 1, 1 << 20));
  checks.Update(CheckTimeout("statement_timeout", absl::GetFlag(FLAGS_statement_timeout)));
  checks.Update(CheckTimeout("lock_timeout", absl::GetFlag(FLAGS_lock_timeout)));
  checks.Update(CheckTimeout("idle_in_transaction_timeout",
                             absl::GetFlag(FLAGS_idle_in_transaction_timeout)));
  checks.Update(CheckDuration("maintenance_interval", absl::GetFlag(FLAGS_maintenance_interval),
                              absl::Milliseconds(100), absl::Hours(1)));
  const auto maintenance = MaintenanceOptionsFromFlags();
  checks.Update(maintenance.status());
  if (!checks.ok()) return checks;

  ServerOptions options;
  for (const std::string& service : absl::GetFlag(FLAGS_services)) {
    if (service != "sites" && service != "configurations" && service != "live_data") {
      return absl::InvalidArgumentError(absl::StrCat(
          "--services must list sites, configurations or live_data, not '", service, "'"));
    }
    options.services.insert(service);
  }
  if (options.services.empty()) return absl::InvalidArgumentError("--services is empty");
  options.tls_cert_file = absl::GetFlag(FLAGS_tls_cert);
  options.tls_key_file = absl::GetFlag(FLAGS_tls_key);
  options.tls_client_ca_file = absl::GetFlag(FLAGS_tls_client_ca);
  if (options.tls_cert_file.empty() != options.tls_key_file.empty()) {
    return absl::InvalidArgumentError("--tls_cert and --tls_key must be set together");
  }
  if (!options.tls_client_ca_file.empty() && options.tls_cert_file.empty()) {
    return absl::InvalidArgumentError("--tls_client_ca requires --tls_cert and --tls_key");
  }
  const std::string identity = absl::GetFlag(FLAGS_identity);
  if (identity == "envoy") {
    options.identity_source = IdentitySource::kEnvoy;
    if (options.tls_client_ca_file.empty()) {
      return absl::InvalidArgumentError("--identity=envoy requires --tls_client_ca");
    }
  } else if (identity != "none") {
    return absl::InvalidArgumentError(
        absl::StrCat("--identity must be none or envoy, not '", identity, "'"));
  }
  // Report invalid DSNs at start instead of at the first connection.
  absl::Status dsns = AppDsn().status();
  dsns.Update(OwnerDsn().status());
  const auto configured_owner = ConfiguredOwnerDsn();
  dsns.Update(configured_owner.status());
  if (!dsns.ok()) return dsns;
  const storage::DsnSource app_dsn(AppDsn);
  if (!configured_owner->empty()) options.owner_dsn = storage::DsnSource(OwnerDsn);
  options.executor.session.dsn = app_dsn;
  options.executor.session.statement_timeout = absl::GetFlag(FLAGS_statement_timeout);
  options.executor.session.silence_limit =
      options.executor.session.statement_timeout + storage::kSilenceMargin;
  options.executor.session.lock_timeout = absl::GetFlag(FLAGS_lock_timeout);
  options.executor.session.idle_in_transaction_timeout =
      absl::GetFlag(FLAGS_idle_in_transaction_timeout);
  options.executor.connections = absl::GetFlag(FLAGS_database_connections);
  options.executor.queue_limit = absl::GetFlag(FLAGS_queue_limit);
  options.export_executor = options.executor;
  options.export_executor.connections = absl::GetFlag(FLAGS_export_connections);
  // A SubjectQuota limits the streams. The queue is needed because a thread may still be finishing
  // a stream whose place is free already.
  options.export_executor.queue_limit = options.export_executor.connections;
  // An export may run as long as its client reads. StreamWriter aborts stalled ones.
  options.export_executor.session.scans_tables = true;
  options.export_executor.session.statement_timeout = absl::ZeroDuration();
  options.export_executor.session.silence_limit =
      std::max(options.executor.session.silence_limit, storage::kMaxExportSilence);
  options.export_executor.session.idle_in_transaction_timeout = absl::ZeroDuration();
  options.export_stall_timeout = absl::GetFlag(FLAGS_export_stall_timeout);
  options.ingest_executor = options.executor;
  options.ingest_executor.connections = absl::GetFlag(FLAGS_ingest_connections);
  options.live_data_feed.dsn = app_dsn;
  options.live_data_feed.max_watchers = absl::GetFlag(FLAGS_watch_limit);
  options.live_data_feed.queue.stall_timeout =
      absl::ToChronoMilliseconds(absl::GetFlag(FLAGS_watch_stall_timeout));
  options.listen_address = absl::GetFlag(FLAGS_listen_address);
  options.admin_address = absl::GetFlag(FLAGS_admin_address);
  options.drain_delay = absl::GetFlag(FLAGS_drain_delay);
  options.drain = absl::Seconds(absl::GetFlag(FLAGS_drain_seconds));
  options.maintenance = *maintenance;
  options.maintenance_interval = absl::GetFlag(FLAGS_maintenance_interval);
  options.max_message_bytes = absl::GetFlag(FLAGS_max_message_bytes);
  options.memory_limit_mib = absl::GetFlag(FLAGS_memory_limit_mib);
  options.max_connection_age_minutes = absl::GetFlag(FLAGS_max_connection_age_minutes);
  return options;
}

bool IsPrintConfigSet() { return absl::GetFlag(FLAGS_print_config); }

std::string ConfigText() {
  std::string text;
  for (const auto& [name, flag] : ProjectFlags()) {
    absl::StrAppend(&text, "--", name, "=", flag->CurrentValue(), "\n");
  }
  const auto app = AppDsn();
  const auto owner = OwnerDsn();
  absl::StrAppend(
      &text, "DATABASE_URL: ", app.ok() ? storage::DsnWithoutSecrets(*app) : "unreadable",
      "\nMIGRATE_DATABASE_URL: ", owner.ok() ? storage::DsnWithoutSecrets(*owner) : "unreadable",
      "\n");
  return text;
}

}  // namespace energysites
