#include "services/operations/call_observer.h"

#include <map>

#include "absl/strings/ascii.h"
#include "services/operations/log.h"

namespace energysites {
namespace {

using Labels = std::map<std::string, std::string>;

constexpr const char* kCodeNames[] = {
    "OK",       "Canceled",       "Unknown",          "InvalidArgument",   "DeadlineExceeded",
    "NotFound", "AlreadyExists",  "PermissionDenied", "ResourceExhausted", "FailedPrecondition",
    "Aborted",  "OutOfRange",     "Unimplemented",    "Internal",          "Unavailable",
    "DataLoss", "Unauthenticated"};

// In seconds, from a single lookup to a typical client timeout.
const prometheus::Histogram::BucketBoundaries kBuckets = {
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30};

const prometheus::Histogram::BucketBoundaries kGroupBuckets = {1,  2,  4,   8,   16,
                                                               32, 64, 128, 256, 512};
const prometheus::Histogram::BucketBoundaries kBatchBuckets = {1,    10,   50,   100,  500,
                                                               1000, 2500, 5000, 10000};

Labels MethodLabels(const std::string& type, const std::string& service,
                    const std::string& method) {
  return {{"grpc_type", type}, {"grpc_service", service}, {"grpc_method", method}};
}

// Formats with a 0 for each hexadecimal digit: W3C version-trace-parent-flags, and the request id
// that Envoy generates.
constexpr absl::string_view kTraceparentFormat =
    "00-00000000000000000000000000000000-0000000000000000-00";
constexpr absl::string_view kRequestIdFormat = "00000000-0000-0000-0000-000000000000";

// Returns the header `name`, or an empty string if its format is not `format`: arbitrary text from
// callers is not logged.
absl::string_view HeaderWithFormat(absl::string_view format, const char* name,
                                   const grpc::CallbackServerContext& context) {
  const auto sent = context.client_metadata().find(name);
  if (sent == context.client_metadata().end() || sent->second.size() != format.size()) return "";
  const absl::string_view text(sent->second.data(), sent->second.size());
  for (size_t i = 0; i < text.size(); ++i) {
    if (format[i] == '-' ? text[i] != '-' : !absl::ascii_isxdigit(text[i])) return "";
  }
  return text;
}

}  // namespace

MethodObserver::MethodObserver(prometheus::Registry& registry, const std::string& type,
                               const std::string& service, const std::string& method)
    : registry_(registry),
      type_(type),
      service_(service),
      method_(method),
      violations_(prometheus::BuildCounter()
                      .Name("energy_sites_validation_violations_total")
                      .Help("Violations of validation rules, by rule id.")
                      .Register(registry)),
      started_(prometheus::BuildCounter()
                   .Name("grpc_server_started_total")
                   .Help("Calls started.")
                   .Register(registry)
                   .Add(MethodLabels(type, service, method))),
      seconds_(prometheus::BuildHistogram()
                   .Name("grpc_server_handling_seconds")
                   .Help("Time from the arrival of a call to its response.")
                   .Register(registry)
                   .Add(MethodLabels(type, service, method), kBuckets)) {
  auto& family = prometheus::BuildCounter()
                     .Name("grpc_server_handled_total")
                     .Help("Calls completed, by code.")
                     .Register(registry);
  for (size_t code = 0; code < kCodes; ++code) {
    Labels labels = MethodLabels(type, service, method);
    labels["grpc_code"] = kCodeNames[code];
    handled_[code] = &family.Add(labels);
  }
}

void MethodObserver::Violated(const std::map<std::string, int>& rule_counts) const {
  for (const auto& [rule, count] : rule_counts) violations_.Add({{"rule", rule}}).Increment(count);
}

prometheus::Histogram& MethodObserver::SharedQueryCalls() const {
  return prometheus::BuildHistogram()
      .Name("energy_sites_shared_query_calls")
      .Help("Calls per shared query.")
      .Register(registry_)
      .Add(MethodLabels(type_, service_, method_), kGroupBuckets);
}

prometheus::Histogram& MethodObserver::BatchEntries() const {
  return prometheus::BuildHistogram()
      .Name("energy_sites_batch_entries")
      .Help("Entries per batch.")
      .Register(registry_)
      .Add(MethodLabels(type_, service_, method_), kBatchBuckets);
}

CallObserver::CallObserver(MethodObserver& method, grpc::CallbackServerContext& context)
    : method_(method), context_(context) {
  method_.started_.Increment();
}

void CallObserver::Done(const absl::Status& status) {
  const absl::Duration duration = absl::Now() - start_;
  method_.handled_[static_cast<size_t>(status.code()) % MethodObserver::kCodes]->Increment();
  method_.seconds_.Observe(absl::ToDoubleSeconds(duration));

  const bool our_fault = absl::IsInternal(status) || absl::IsDataLoss(status);
  Log(our_fault ? spdlog::level::err : spdlog::level::info, "call",
      {{"grpc_service", method_.service_},
       {"grpc_method", method_.method_},
       {"grpc_code", kCodeNames[static_cast<size_t>(status.code()) % std::size(kCodeNames)]},
       {"milliseconds", absl::ToDoubleMilliseconds(duration)},
       {"peer", context_.peer()},
       {"traceparent", HeaderWithFormat(kTraceparentFormat, "traceparent", context_)},
       {"x_request_id", HeaderWithFormat(kRequestIdFormat, "x-request-id", context_)},
       {"fault", our_fault ? status.message() : ""}});
}

}  // namespace energysites
