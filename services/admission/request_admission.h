// Authenticates, parses, validates and authorizes each request before its handler runs.
#ifndef SERVICES_ADMISSION_REQUEST_ADMISSION_H_
#define SERVICES_ADMISSION_REQUEST_ADMISSION_H_

#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "google/protobuf/message.h"
#include "grpcpp/server_context.h"
#include "grpcpp/support/byte_buffer.h"
#include "services/admission/caller.h"
#include "services/admission/site_scope.h"
#include "services/errors/broken_rules.h"
#include "services/operations/call_observer.h"
#include "validation/item_limits.h"
#include "validation/validator.h"

namespace energysites {

// The violations in the entries of a batch.
struct EntryFaults {
  BrokenRules rules;
  BrokenRules sites;  // Sites that the caller may not use.
};

// The admission of requests of one method. Thread-safe.
class RequestAdmission {
 public:
  // `sites_path` is that of SiteScope::Compile. Returns the errors of ItemLimits::Compile,
  // Validator::Compile and SiteScope::Compile.
  static absl::StatusOr<RequestAdmission> Compile(const google::protobuf::Descriptor& request,
                                                  absl::string_view sites_path,
                                                  IdentitySource source);

  // Returns the result of CallerOf.
  absl::StatusOr<Caller> Identify(const grpc::CallbackServerContext& context) const {
    return CallerOf(context, source_);
  }

  // Parses `bytes` into `request`, an empty message of the method's type; clears `bytes`. Returns
  // INVALID_ARGUMENT for bytes that are not such a message, and for oversized lists in a large
  // request. The latter are detected before parsing and counted by `observer`.
  absl::Status Parse(grpc::ByteBuffer* bytes, google::protobuf::Message* request,
                     const MethodObserver& observer) const;

  // Returns INVALID_ARGUMENT with the violated rules, or PERMISSION_DENIED with the sites that the
  // caller may not use. If `tolerates_entries` is set and all violations are in entries, returns
  // them, and the handler reports them. `observer` counts the violations in any case.
  absl::StatusOr<EntryFaults> Check(const google::protobuf::Message& request, const Caller& caller,
                                    const MethodObserver& observer,
                                    bool tolerates_entries = false) const;

  // Calls Identify, Parse and Check. Tolerates no violations.
  absl::StatusOr<Caller> Admit(const grpc::CallbackServerContext& context, grpc::ByteBuffer* bytes,
                               google::protobuf::Message* request,
                               const MethodObserver& observer) const;

 private:
  RequestAdmission(ItemLimits limits, Validator validator, SiteScope scope, IdentitySource source)
      : limits_(std::move(limits)),
        validator_(std::move(validator)),
        scope_(std::move(scope)),
        source_(source) {}

  ItemLimits limits_;
  Validator validator_;
  SiteScope scope_;
  IdentitySource source_;
};

}  // namespace energysites

#endif  // SERVICES_ADMISSION_REQUEST_ADMISSION_H_
