#include "services/call_observer.h"

#include "absl/strings/ascii.h"
#include "services/log.h"

namespace energysites {
namespace {

using Labels = std::map<std::string, std::string>;

constexpr const char* kCodeNames[] = {
    "OK",       "Canceled",       "Unknown",          "InvalidArgument",   "DeadlineExceeded",
    "NotFound", "AlreadyExists",  "PermissionDenied", "ResourceExhausted", "FailedPrecondition",
    "Aborted",  "OutOfRange",     "Unimplemented",    "Internal",          "Unavailable",
    "DataLoss", "Unauthenticated"};

// Seconds, from what one look-up takes to what a client waits for.
const prometheus::Histogram::BucketBoundaries kBuckets = {
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30};

Labels MethodLabels(const std::string& service, const std::string& method) {
  return {{"grpc_type", "unary"}, {"grpc_service", service}, {"grpc_method", method}};
}

// As W3C Trace Context writes it: version-trace-parent-flags in hexadecimal digits. The log takes
// nothing else that a caller made up.
bool IsTraceparent(absl::string_view text) {
  constexpr absl::string_view kForm = "00-00000000000000000000000000000000-0000000000000000-00";
  if (text.size() != kForm.size()) return false;
  for (size_t i = 0; i < text.size(); ++i) {
    if (kForm[i] == '-' ? text[i] != '-' : !absl::ascii_isxdigit(text[i])) return false;
  }
  return true;
}

}  // namespace

MethodMetrics::MethodMetrics(prometheus::Registry& registry, const std::string& service,
                             const std::string& method)
    : started_(prometheus::BuildCounter()
                   .Name("grpc_server_started_total")
                   .Help("Calls that arrived.")
                   .Register(registry)
                   .Add(MethodLabels(service, method))),
      seconds_(prometheus::BuildHistogram()
                   .Name("grpc_server_handling_seconds")
                   .Help("Time from a call's arrival to its answer.")
                   .Register(registry)
                   .Add(MethodLabels(service, method), kBuckets)) {
  auto& family = prometheus::BuildCounter()
                     .Name("grpc_server_handled_total")
                     .Help("Calls that were answered, by code.")
                     .Register(registry);
  for (size_t code = 0; code < kCodes; ++code) {
    Labels labels = MethodLabels(service, method);
    labels["grpc_code"] = kCodeNames[code];
    handled_[code] = &family.Add(labels);
  }
}

void MethodMetrics::Handled(absl::StatusCode code, absl::Duration duration) {
  handled_[static_cast<size_t>(code) % kCodes]->Increment();
  seconds_.Observe(absl::ToDoubleSeconds(duration));
}

void LogCall(absl::string_view service, absl::string_view method, const absl::Status& status,
             absl::Duration duration, absl::string_view peer, absl::string_view traceparent) {
  const bool our_fault = absl::IsInternal(status) || absl::IsDataLoss(status);
  Log(our_fault ? spdlog::level::err : spdlog::level::info, "call",
      {{"grpc_service", service},
       {"grpc_method", method},
       {"grpc_code", kCodeNames[static_cast<size_t>(status.code()) % std::size(kCodeNames)]},
       {"milliseconds", absl::ToDoubleMilliseconds(duration)},
       {"peer", peer},
       {"traceparent", IsTraceparent(traceparent) ? traceparent : ""},
       {"fault", our_fault ? status.message() : ""}});
}

}  // namespace energysites
