// What the operating system says of this process, under the names that Prometheus gives it.
#ifndef SERVICES_PROCESS_METRICS_H_
#define SERVICES_PROCESS_METRICS_H_

#include <vector>

#include "prometheus/metric_family.h"

namespace energysites {

// Memory, CPU time, open files and the time of start. What cannot be read is left out.
std::vector<prometheus::MetricFamily> ProcessMetrics();

}  // namespace energysites

#endif  // SERVICES_PROCESS_METRICS_H_
