// What every request passes before its handler sees it: somebody known sends it, it keeps the rules
// of the contract, and it stays within the sites of its caller.
#ifndef SERVICES_ADMISSION_GATE_H_
#define SERVICES_ADMISSION_GATE_H_

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

// What is wrong with single entries of a batch.
struct EntryFaults {
  BrokenRules rules;
  BrokenRules sites;  // Those that are not the caller's.
};

// The gate of one method. Safe from any thread.
class Gate {
 public:
  // `sites_path` as SiteScope::Compile takes it. Fails if the request declares rules that the
  // validator does not know.
  static absl::StatusOr<Gate> Compile(const google::protobuf::Descriptor& request,
                                      absl::string_view sites_path, IdentitySource source);

  // Returns UNAUTHENTICATED where CallerOf does.
  absl::StatusOr<Caller> Identify(const grpc::CallbackServerContext& context) const {
    return CallerOf(context, source_);
  }

  // Parses `bytes`, which it takes, into `request`, an empty one of the method's type. Returns
  // INVALID_ARGUMENT, without having parsed, for lists so much too long that they would take memory
  // (`observer` counts that), and for bytes that are no such request.
  absl::Status Parse(grpc::ByteBuffer* bytes, google::protobuf::Message* request,
                     const MethodObserver& observer) const;

  // INVALID_ARGUMENT with the broken rules, or PERMISSION_DENIED with the sites that are not the
  // caller's; but OK with them if they are of single entries only, and `tolerates_entries` says
  // that the handler settles those itself. `observer` counts them in any case.
  absl::StatusOr<EntryFaults> Check(const google::protobuf::Message& request, const Caller& caller,
                                    const MethodObserver& observer,
                                    bool tolerates_entries = false) const;

  // All of these for a call with one request, of which nothing is tolerated.
  absl::StatusOr<Caller> Admit(const grpc::CallbackServerContext& context, grpc::ByteBuffer* bytes,
                               google::protobuf::Message* request,
                               const MethodObserver& observer) const;

 private:
  Gate(ItemLimits limits, Validator validator, SiteScope scope, IdentitySource source)
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

#endif  // SERVICES_ADMISSION_GATE_H_
