// What the operating system says of this process, under the names that Prometheus gives it.
#ifndef SERVICES_OPERATIONS_PROCESS_METRICS_H_
#define SERVICES_OPERATIONS_PROCESS_METRICS_H_

#include <cstddef>
#include <vector>

#include "prometheus/metric_family.h"

namespace energysites {

// Memory, CPU time, open files and the time of start. What cannot be read is left out.
std::vector<prometheus::MetricFamily> ProcessMetrics();

// The memory that this process takes, in bytes; 0 if it cannot be read.
size_t ResidentBytes();

}  // namespace energysites

#endif  // SERVICES_OPERATIONS_PROCESS_METRICS_H_
