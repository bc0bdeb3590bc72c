// The metrics of the process and of the objects that its calls share.
#ifndef SERVICES_OPERATIONS_SERVER_METRICS_H_
#define SERVICES_OPERATIONS_SERVER_METRICS_H_

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "prometheus/metric_family.h"
#include "prometheus/registry.h"
#include "storage/postgres/database_monitor.h"
#include "storage/postgres/executor.h"
#include "storage/watch/live_data_feed.h"

namespace energysites {

// Returns a function to call for each connection that was closed because the database did not
// respond. It counts and logs. The registry must outlive it.
std::function<void()> AbandonedConnectionCounter(prometheus::Registry& registry);

// Returns `options` with callbacks that count the wait times and lost connections of the executor
// under `name`. The registry must outlive the executor.
storage::ExecutorOptions WithExecutorMetrics(storage::ExecutorOptions options,
                                             const std::string& name,
                                             prometheus::Registry& registry);

// Returns a thread-safe function that returns all metrics: those of `registry`, those of the
// process, and gauges with their current values. It does not wait for the database. `executors` is
// by name. All referenced objects must outlive the function.
std::function<std::vector<prometheus::MetricFamily>()> CollectMetrics(
    const std::shared_ptr<prometheus::Registry>& registry,
    const std::map<std::string, const storage::Executor*>& executors,
    const storage::LiveDataFeed& feed, const storage::DatabaseMonitor& monitor,
    std::function<bool()> database_available);

}  // namespace energysites

#endif  // SERVICES_OPERATIONS_SERVER_METRICS_H_
