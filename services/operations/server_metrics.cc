#include "services/operations/server_metrics.h"

#include <utility>

#include "prometheus/counter.h"
#include "prometheus/gauge.h"
#include "prometheus/histogram.h"
#include "services/operations/log.h"
#include "services/operations/process_metrics.h"

namespace energysites {
namespace {

using Labels = std::map<std::string, std::string>;

// In seconds, from no wait to the timeout of Envoy.
const prometheus::Histogram::BucketBoundaries kWaitBuckets = {0.0001, 0.0005, 0.0025, 0.01, 0.05,
                                                              0.25,   1,      5,      30};

// Gauges with the functions that return their values.
class Gauges {
 public:
  explicit Gauges(prometheus::Registry& registry) : registry_(registry) {}

  void Add(const char* name, const char* help, const Labels& labels,
           std::function<double()> value) {
    auto& gauge = prometheus::BuildGauge().Name(name).Help(help).Register(registry_).Add(labels);
    gauges_.emplace_back(&gauge, std::move(value));
  }

  void Read() const {
    for (const auto& [gauge, value] : gauges_) gauge->Set(value());
  }

 private:
  prometheus::Registry& registry_;
  std::vector<std::pair<prometheus::Gauge*, std::function<double()>>> gauges_;
};

}  // namespace

storage::ExecutorOptions WithExecutorMetrics(storage::ExecutorOptions options,
                                             const std::string& name,
                                             prometheus::Registry& registry) {
  const Labels labels = {{"executor", name}};
  auto& waits = prometheus::BuildHistogram()
                    .Name("energy_sites_executor_wait_seconds")
                    .Help("Time that calls waited for a connection.")
                    .Register(registry)
                    .Add(labels, kWaitBuckets);
  auto& lost = prometheus::BuildCounter()
                   .Name("energy_sites_database_connections_lost_total")
                   .Help("Connections to the database that were lost.")
                   .Register(registry)
                   .Add(labels);
  options.on_wait_over = [&waits](absl::Duration wait) {
    waits.Observe(absl::ToDoubleSeconds(wait));
  };
  options.session.on_connection_lost = [&lost] { lost.Increment(); };
  return options;
}

std::function<void()> AbandonedConnectionCounter(prometheus::Registry& registry) {
  auto& abandoned = prometheus::BuildCounter()
                        .Name("energy_sites_database_connections_abandoned_total")
                        .Help("Connections closed because the database did not respond.")
                        .Register(registry)
                        .Add({});
  return [&abandoned] {
    abandoned.Increment();
    Log(spdlog::level::err, "connection closed: the database did not respond", {});
  };
}

std::function<std::vector<prometheus::MetricFamily>()> CollectMetrics(
    const std::shared_ptr<prometheus::Registry>& registry,
    const std::map<std::string, const storage::Executor*>& executors,
    const storage::LiveDataFeed& feed, const storage::DatabaseMonitor& monitor,
    std::function<bool()> database_available) {
  prometheus::BuildGauge()
      .Name("energy_sites_build_info")
      .Help("Always 1; the label is the version of the program.")
      .Register(*registry)
      .Add({{"version", ENERGY_SITES_VERSION}})
      .Set(1);
  Gauges gauges(*registry);
  for (const auto& [name, each] : executors) {
    const Labels labels = {{"executor", name}};
    const storage::Executor& executor = *each;
    gauges.Add("energy_sites_executor_connections", "Connections, each of which runs one call.",
               labels, [&executor] { return executor.connections(); });
    gauges.Add("energy_sites_executor_queued_calls", "Calls that wait for a connection.", labels,
               [&executor] { return executor.queued(); });
    gauges.Add("energy_sites_executor_running_calls", "Calls that use a connection.", labels,
               [&executor] { return executor.running(); });
  }
  gauges.Add("energy_sites_watchers", "Streams of WatchLiveData.", {},
             [&feed] { return feed.watchers(); });
  gauges.Add("energy_sites_watch_delay_seconds",
             "Age of the oldest writing transaction, which delays new entries for watchers.", {},
             [&feed] { return feed.delay_seconds(); });
  gauges.Add("energy_sites_database_available", "1 if the database is available.", {},
             std::move(database_available));
  gauges.Add("energy_sites_database_schema_version", "The newest migration of the database.", {},
             [&monitor] { return monitor.facts().schema_version; });
  gauges.Add("energy_sites_database_months_ahead",
             "Future months, up to 12, that already have a partition.", {},
             [&monitor] { return monitor.facts().months_ahead; });
  gauges.Add("energy_sites_database_standbys", "Connections that replicate the database.", {},
             [&monitor] { return monitor.facts().standbys; });
  gauges.Add("energy_sites_database_replication_lag_bytes",
             "Write-ahead log that the slowest standby has not replayed. NaN if the role lacks "
             "pg_read_all_stats.",
             {}, [&monitor] { return monitor.facts().replication_lag_bytes; });
  return [registry, gauges = std::move(gauges)] {
    gauges.Read();
    std::vector<prometheus::MetricFamily> families = registry->Collect();
    for (auto& family : ProcessMetrics()) families.push_back(std::move(family));
    return families;
  };
}

}  // namespace energysites
