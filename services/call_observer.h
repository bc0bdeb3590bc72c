// One log line and one set of metrics for each call.
#ifndef SERVICES_CALL_OBSERVER_H_
#define SERVICES_CALL_OBSERVER_H_

#include <array>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "prometheus/counter.h"
#include "prometheus/histogram.h"
#include "prometheus/registry.h"

namespace energysites {

// The metrics of one method, under the standard gRPC names. Safe from any thread.
class MethodMetrics {
 public:
  MethodMetrics(prometheus::Registry& registry, const std::string& service,
                const std::string& method);

  void Started() { started_.Increment(); }
  void Handled(absl::StatusCode code, absl::Duration duration);

 private:
  static constexpr size_t kCodes = 17;

  prometheus::Counter& started_;
  prometheus::Histogram& seconds_;
  std::array<prometheus::Counter*, kCodes> handled_;
};

// Logs one call as a JSON line. `traceparent` is the caller's, empty if none came. Faults of ours
// are errors with their text; no value that a caller sent is logged.
void LogCall(absl::string_view service, absl::string_view method, const absl::Status& status,
             absl::Duration duration, absl::string_view peer, absl::string_view traceparent);

}  // namespace energysites

#endif  // SERVICES_CALL_OBSERVER_H_
