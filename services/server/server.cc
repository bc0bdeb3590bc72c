#include "services/server/server.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "grpcpp/ext/proto_server_reflection_plugin.h"
#include "grpcpp/grpcpp.h"
#include "grpcpp/health_check_service_interface.h"
#include "services/configurations/configurations_service.h"
#include "services/live_data/live_data_service.h"
#include "services/operations/admin_server.h"
#include "services/operations/log.h"
#include "services/operations/maintenance_schedule.h"
#include "services/operations/process_metrics.h"
#include "services/operations/server_metrics.h"
#include "services/rpc/reflection.h"
#include "services/server/read_file.h"
#include "services/sites/sites_service.h"
#include "storage/maintenance/maintenance.h"
#include "storage/migrations/migrations.h"
#include "storage/postgres/database_monitor.h"
#include "storage/postgres/silence_watch.h"

namespace energysites {
namespace {

constexpr int kMaxStreamsPerConnection = 1000;
// Beyond it gRPC drops the connection, which is Envoy's for all callers: more than Envoy lets
// through (MAX_HEADERS_KIB in deploy/envoy/gateway/listener.py) with 32 bytes for each of its
// headers.
constexpr int kMaxMetadataBytes = 64 << 10;
constexpr int kHandshakeTimeoutMs = 10'000;
constexpr int kMaxIdleMs = 5 * 60'000;
constexpr int kAgeGraceMs = 60'000;

absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> Credentials(const ServerOptions& options) {
  if (options.tls_cert_file.empty()) return grpc::InsecureServerCredentials();
  const auto cert = ReadFile(options.tls_cert_file);
  if (!cert.ok()) return cert.status();
  const auto key = ReadFile(options.tls_key_file);
  if (!key.ok()) return key.status();
  const bool mutual = !options.tls_client_ca_file.empty();
  // With identities a call without a certificate is told so by the gate; health has to answer.
  const auto demand = options.identity_source == IdentitySource::kEnvoy
                          ? GRPC_SSL_REQUEST_CLIENT_CERTIFICATE_AND_VERIFY
                          : GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY;
  grpc::SslServerCredentialsOptions tls(mutual ? demand : GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE);
  tls.pem_key_cert_pairs.push_back({*key, *cert});
  if (mutual) {
    const auto client_ca = ReadFile(options.tls_client_ca_file);
    if (!client_ca.ok()) return client_ca.status();
    tls.pem_root_certs = *client_ca;
  }
  return grpc::SslServerCredentials(tls);
}

// For messages being received.
int64_t RequestBytes(const ServerOptions& options) {
  return (int64_t{1} << 20) * options.memory_limit_mib;
}

// Each connection takes up to 40 KiB before its first call, so that their number is limited, where
// the system does not do so, by that of descriptors. accept.cc keeps some of those.
void LimitDescriptors(rlim_t database_connections) {
  constexpr rlim_t kMost = 2048;
  rlimit limit = {};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = std::min(limit.rlim_cur, kMost + database_connections);
  setrlimit(RLIMIT_NOFILE, &limit);
}

// The limits that keep one client from taking the whole server.
void SetLimits(const ServerOptions& options, grpc::ServerBuilder* builder) {
  builder->SetMaxReceiveMessageSize(options.max_message_bytes);
  // The size is looked at only once a message is there as a whole, so that it is the quota that
  // cuts off one of any size. Of what it allows, the process takes about one and a half times as
  // much.
  builder->SetResourceQuota(grpc::ResourceQuota("requests").Resize(RequestBytes(options)));
  builder->AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, kMaxStreamsPerConnection);
  builder->AddChannelArgument(GRPC_ARG_MAX_METADATA_SIZE, kMaxMetadataBytes);
  builder->AddChannelArgument(GRPC_ARG_SERVER_HANDSHAKE_TIMEOUT_MS, kHandshakeTimeoutMs);
  // gRPC inflates a message whole before it looks at its size: 250 KiB may become 256 MiB. So a
  // compressed one gets UNIMPLEMENTED, and clients are told by grpc-accept-encoding.
  for (const auto algorithm : {GRPC_COMPRESS_DEFLATE, GRPC_COMPRESS_GZIP}) {
    builder->SetCompressionAlgorithmSupportStatus(algorithm, false);
  }
  // No connection is cut for its pings. gRPC would remember each that comes between that decision
  // and the cut, at a cost that grows with their number. As it is, it stops to read where 10,000
  // answers wait to be sent.
  builder->AddChannelArgument(GRPC_ARG_HTTP2_MAX_PING_STRIKES, 0);
  // A handshake that stops half way is not idle for gRPC, nor old before its age.
  builder->AddChannelArgument(GRPC_ARG_MAX_CONNECTION_IDLE_MS, kMaxIdleMs);
  builder->AddChannelArgument(GRPC_ARG_MAX_CONNECTION_AGE_MS,
                              options.max_connection_age_minutes * 60'000);
  builder->AddChannelArgument(GRPC_ARG_MAX_CONNECTION_AGE_GRACE_MS, kAgeGraceMs);
  // Else a second server on a taken port would start without a word and take half of the calls.
  builder->AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
}

// Which services are healthy, told to gRPC's health service and to /readyz.
class Health {
 public:
  explicit Health(std::vector<std::string> services) : services_(std::move(services)) {}

  void Attach(grpc::HealthCheckServiceInterface* service) {
    const std::lock_guard<std::mutex> lock(mutex_);
    service_ = service;
    Tell();
  }

  // Returns whether this is news.
  bool Set(const absl::Status& status) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (draining_ || status_ == status) return false;
    status_ = status;
    Tell();
    return true;
  }

  void Drain() {
    const std::lock_guard<std::mutex> lock(mutex_);
    draining_ = true;
    status_ = absl::UnavailableError("the server is shutting down");
    Tell();
  }

  absl::Status status() const {
    const std::lock_guard<std::mutex> lock(mutex_);
    return status_;
  }

 private:
  void Tell() {
    if (service_ == nullptr) return;
    for (const std::string& name : services_) service_->SetServingStatus(name, status_.ok());
    service_->SetServingStatus("", status_.ok());
  }

  const std::vector<std::string> services_;
  mutable std::mutex mutex_;
  grpc::HealthCheckServiceInterface* service_ = nullptr;
  bool draining_ = false;
  absl::Status status_ = absl::UnavailableError("the database was not reached yet");
};

// Twice as many as it works with: each one may be replaced once while it stands still.
size_t MaxBackends(const ServerOptions& options) {
  constexpr size_t kOthers = 3;  // The feed's, and those of both kinds of maintenance.
  return 2 * (options.executor.connections + options.export_executor.connections +
              options.ingest_executor.connections + kOthers);
}

// How long the process may take to end after the drain.
constexpr absl::Duration kPatienceAfterDrain = absl::Seconds(4);

// Ends the process after `time`, unless it has ended by then. A call that waits for a database that
// stands still ends neither by its deadline nor by a cancellation, and gRPC waits for it without a
// limit. Nothing is lost by it: what was acknowledged is on disk.
void EndProcessAfter(absl::Duration time) {
  std::thread([time] {
    absl::SleepFor(time);
    Log(spdlog::level::warn, "stopped while the database did not answer", {});
    FlushLog();
    _exit(0);
  }).detach();
}

// A thread that watches the database tells the executors and health, and logs.
void OnDatabaseLook(const absl::Status& status, const std::vector<storage::Executor*>& executors,
                    Health& health) {
  for (storage::Executor* executor : executors) executor->SetDatabaseAvailable(status.ok());
  if (!health.Set(status)) return;
  if (status.ok()) {
    Log(spdlog::level::info, "database is available", {});
  } else {
    Log(spdlog::level::err, "database is away", {{"reason", status.message()}});
  }
}

}  // namespace

absl::Status Serve(const ServerOptions& options, const std::vector<grpc::Service*>& extra) {
  // gRPC's own locks are not ours to debug: packaged Abseil checks their order at each of them.
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  std::signal(SIGPIPE, SIG_IGN);

  const auto credentials = Credentials(options);
  if (!credentials.ok()) return credentials.status();

  const auto registry = std::make_shared<prometheus::Registry>();
  storage::SilenceWatch silence_watch(MaxBackends(options), AbandonedConnectionCounter(*registry));
  const auto counted = [&](storage::ExecutorOptions executor_options, const char* name) {
    executor_options.session.silence_watch = &silence_watch;
    return WithExecutorMetrics(std::move(executor_options), name, *registry);
  };
  storage::Executor executor(counted(options.executor, "unary"));
  storage::Executor export_executor(counted(options.export_executor, "export"));
  storage::Executor ingest_executor(counted(options.ingest_executor, "ingest"));
  const std::vector<storage::Executor*> executors = {&executor, &export_executor, &ingest_executor};
  for (storage::Executor* each : executors) each->SetDatabaseAvailable(false);
  LimitDescriptors(executor.connections() + export_executor.connections() +
                   ingest_executor.connections());
  storage::LiveDataFeedOptions feed_options = options.live_data_feed;
  feed_options.silence_watch = &silence_watch;
  feed_options.on_fault = [](const absl::Status& fault) {
    Log(spdlog::level::err, "watchers wait", {{"fault", fault.message()}});
  };
  storage::LiveDataFeed feed(feed_options);
  Draining draining;
  SubjectQuota export_streams =
      StreamQuota(export_executor.connections(), export_executor.connections() / 10);
  SubjectQuota untaken_answers = UntakenAnswersQuota();
  ServiceContext context{executor,
                         export_executor,
                         export_streams,
                         ingest_executor,
                         untaken_answers,
                         feed,
                         draining,
                         *registry,
                         options.export_stall_timeout,
                         options.identity_source};

  std::vector<std::unique_ptr<grpc::Service>> services;
  std::vector<std::string> names;
  absl::Status rules;
  const auto add = [&](const char* flag, auto make, const char* full_name) {
    if (options.services.count(flag) == 0) return;
    auto service = make();
    rules.Update(service->status());
    services.push_back(std::move(service));
    names.emplace_back(full_name);
  };
  add(
      "sites", [&] { return std::make_unique<SitesService>(context); },
      v1::Sites::service_full_name());
  add(
      "configurations", [&] { return std::make_unique<ConfigurationsService>(context); },
      v1::Configurations::service_full_name());
  add(
      "live_data", [&] { return std::make_unique<LiveDataService>(context); },
      v1::LiveData::service_full_name());
  if (!rules.ok()) return rules;

  Health health(names);
  names.insert(names.end(), {"grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection",
                             "grpc.reflection.v1alpha.ServerReflection"});
  ReflectionService reflection(names);

  grpc::EnableDefaultHealthCheckService(true);
  grpc::reflection::InitProtoReflectionServerBuilderPlugin();
  grpc::ServerBuilder builder;
  SetLimits(options, &builder);
  int port = 0;
  builder.AddListeningPort(options.listen_address, *credentials, &port);
  for (const auto& service : services) builder.RegisterService(service.get());
  for (grpc::Service* service : extra) builder.RegisterService(service);
  builder.RegisterService(&reflection);
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (server == nullptr) {
    return absl::UnavailableError(absl::StrCat(
        "cannot listen on ", options.listen_address, " (--listen_address): is the port taken",
        options.tls_cert_file.empty() ? "?"
                                      : ", or are --tls_cert, --tls_key and --tls_client_ca no PEM "
                                        "files that fit together?"));
  }
  health.Attach(server->GetHealthCheckService());

  const storage::DatabaseMonitor monitor(
      options.executor.session.dsn, storage::Migrations().back().version,
      [&](const absl::Status& status) { OnDatabaseLook(status, executors, health); },
      &silence_watch);
  std::unique_ptr<AdminServer> admin;
  if (!options.admin_address.empty()) {
    auto started = AdminServer::Start(
        options.admin_address,
        CollectMetrics(
            registry,
            {{"unary", &executor}, {"export", &export_executor}, {"ingest", &ingest_executor}},
            feed, monitor, [&health] { return health.status().ok(); }),
        [&health] { return health.status(); });
    if (!started.ok()) return started.status();
    admin = *std::move(started);
  }
  const auto maintain = [&](const char* work, const storage::DsnSource& dsn,
                            std::vector<storage::MaintenanceStep> steps) {
    return std::make_unique<MaintenanceSchedule>(
        work, dsn, silence_watch, std::move(steps), options.maintenance_interval,
        [&health] { return health.status().ok(); }, *registry);
  };
  const auto rows =
      maintain("rows", options.executor.session.dsn, storage::RowMaintenance(options.maintenance));
  std::unique_ptr<MaintenanceSchedule> tables;
  if (options.owner_dsn.has_value()) {
    tables = maintain("tables", *options.owner_dsn, storage::TableMaintenance(options.maintenance));
  }
  Log(spdlog::level::info, "serving", {{"listen_address", options.listen_address}});

  int signal = 0;
  sigwait(&signals, &signal);
  Log(spdlog::level::info, "draining", {{"signal", strsignal(signal)}});
  health.Drain();
  // gRPC drops calls that cross its goodbye on the way: nobody should be sending any more by then.
  // A second signal cuts this short.
  const timespec delay = absl::ToTimespec(options.drain_delay);
  sigtimedwait(&signals, nullptr, &delay);
  draining.Begin();
  EndProcessAfter(options.drain + kPatienceAfterDrain);
  server->Shutdown(std::chrono::system_clock::now() + absl::ToChronoSeconds(options.drain));
  return absl::OkStatus();
}

}  // namespace energysites
