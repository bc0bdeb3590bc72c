// The metrics of the process and of what its calls share.
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

// What to call for each connection that was ended because the database did not answer: counts and
// logs it. The registry outlives it.
std::function<void()> CountedAbandonment(prometheus::Registry& registry);

// `options`, but for an executor whose waits and lost connections are counted as those of `name`.
// The registry outlives the executor.
storage::ExecutorOptions Counted(storage::ExecutorOptions options, const std::string& name,
                                 prometheus::Registry& registry);

// What to call for all metrics, from any thread: those of `registry`, those of the process, and
// gauges that are read at that moment. Nothing in it waits for the database. `executors` by name;
// all that is referred to outlives the result.
std::function<std::vector<prometheus::MetricFamily>()> CollectMetrics(
    const std::shared_ptr<prometheus::Registry>& registry,
    const std::map<std::string, const storage::Executor*>& executors,
    const storage::LiveDataFeed& feed, const storage::DatabaseMonitor& monitor,
    std::function<bool()> database_available);

}  // namespace energysites

#endif  // SERVICES_OPERATIONS_SERVER_METRICS_H_
