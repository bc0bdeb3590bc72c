// Metrics of this process from the operating system, under the standard Prometheus names.
#ifndef SERVICES_OPERATIONS_PROCESS_METRICS_H_
#define SERVICES_OPERATIONS_PROCESS_METRICS_H_

#include <vector>

#include "prometheus/metric_family.h"

namespace energysites {

// Returns memory, CPU time, open files and the start time. Omits values that cannot be read.
std::vector<prometheus::MetricFamily> ProcessMetrics();

}  // namespace energysites

#endif  // SERVICES_OPERATIONS_PROCESS_METRICS_H_
