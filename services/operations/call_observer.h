// One log line and one set of metrics for each call.
#ifndef SERVICES_OPERATIONS_CALL_OBSERVER_H_
#define SERVICES_OPERATIONS_CALL_OBSERVER_H_

#include <array>
#include <map>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "grpcpp/server_context.h"
#include "prometheus/counter.h"
#include "prometheus/histogram.h"
#include "prometheus/registry.h"

namespace energysites {

// How a method is counted and logged. Shared by all its calls, outlives them, safe from any thread.
class MethodObserver {
 public:
  // `type` is gRPC's name for the kind of the method, such as `unary`.
  MethodObserver(prometheus::Registry& registry, const std::string& type,
                 const std::string& service, const std::string& method);

  // Counts how often rules, by id, were broken, whether the call is refused for them or goes on
  // without an entry.
  void Violated(const std::map<std::string, int>& times) const;

  // For methods whose calls share queries: how many did. For those that take batches: how many
  // entries came in one.
  prometheus::Histogram& RideCalls() const;
  prometheus::Histogram& BatchEntries() const;

 private:
  friend class CallObserver;
  static constexpr size_t kCodes = 17;

  prometheus::Registry& registry_;
  const std::string type_;
  const std::string service_;
  const std::string method_;
  prometheus::Family<prometheus::Counter>& violations_;
  prometheus::Counter& started_;
  prometheus::Histogram& seconds_;
  std::array<prometheus::Counter*, kCodes> handled_;
};

// One call, from its arrival on.
class CallObserver {
 public:
  CallObserver(MethodObserver& method, grpc::CallbackServerContext& context);

  // Counts the call and logs it as a JSON line, with the caller's traceparent and x-request-id if
  // they came. Faults of ours are errors with their text; no value that a caller sent is logged.
  // Call it once, before the call is finished.
  void Done(const absl::Status& status);

 private:
  MethodObserver& method_;
  grpc::CallbackServerContext& context_;
  const absl::Time start_ = absl::Now();
};

}  // namespace energysites

#endif  // SERVICES_OPERATIONS_CALL_OBSERVER_H_
