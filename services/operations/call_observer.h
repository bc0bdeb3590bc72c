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

// The metrics of a method. Shared by all its calls and outlives them. Thread-safe.
class MethodObserver {
 public:
  // `type` is the gRPC method type, such as `unary`.
  MethodObserver(prometheus::Registry& registry, const std::string& type,
                 const std::string& service, const std::string& method);

  // Adds the number of violations by rule id, whether the whole call is rejected or single entries.
  void Violated(const std::map<std::string, int>& rule_counts) const;

  // For methods whose calls share queries: the number of calls per query. For methods with batches:
  // the number of entries per batch.
  prometheus::Histogram& SharedQueryCalls() const;
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

// Observes one call, from its arrival to its end.
class CallObserver {
 public:
  CallObserver(MethodObserver& method, grpc::CallbackServerContext& context);

  // Counts the call and logs it as a JSON line, with the headers traceparent and x-request-id if
  // they are valid. INTERNAL and DATA_LOSS are logged as errors with their message. Other values
  // from the request are not logged. Must be called exactly once, before the call is finished.
  void Done(const absl::Status& status);

 private:
  MethodObserver& method_;
  grpc::CallbackServerContext& context_;
  const absl::Time start_ = absl::Now();
};

}  // namespace energysites

#endif  // SERVICES_OPERATIONS_CALL_OBSERVER_H_
