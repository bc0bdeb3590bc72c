#include "services/admission/request_admission.h"

#include <utility>

#include "grpcpp/impl/codegen/proto_utils.h"
#include "grpcpp/support/proto_buffer_reader.h"
#include "services/errors/errors.h"

namespace energysites {
namespace {

// Smaller requests are parsed without a check for oversized lists: even if they consist of empty
// elements only, they take just a few MiB.
constexpr size_t kAlwaysParsedBytes = 64 << 10;

}  // namespace

absl::StatusOr<RequestAdmission> RequestAdmission::Compile(
    const google::protobuf::Descriptor& request, absl::string_view sites_path,
    IdentitySource source) {
  absl::StatusOr<ItemLimits> limits = ItemLimits::Compile(request);
  if (!limits.ok()) return limits.status();
  absl::StatusOr<Validator> validator = Validator::Compile(request);
  if (!validator.ok()) return validator.status();
  absl::StatusOr<SiteScope> scope = SiteScope::Compile(request, sites_path);
  if (!scope.ok()) return scope.status();
  return RequestAdmission(*std::move(limits), *std::move(validator), *std::move(scope), source);
}

absl::Status RequestAdmission::Parse(grpc::ByteBuffer* bytes, google::protobuf::Message* request,
                                     const MethodObserver& observer) const {
  if (bytes->Length() > kAlwaysParsedBytes) {
    grpc::ProtoBufferReader reader(bytes);
    BrokenRules too_long;
    limits_.FindOversizedLists(&reader, too_long);
    observer.Violated(too_long.rule_counts());
    if (too_long.count() > 0) return InvalidRequest(too_long.listed(), too_long.count());
  }
  if (!grpc::SerializationTraits<google::protobuf::Message>::Deserialize(bytes, request).ok()) {
    return MalformedRequest(request->GetDescriptor()->full_name());
  }
  return absl::OkStatus();
}

absl::StatusOr<EntryFaults> RequestAdmission::Check(const google::protobuf::Message& request,
                                                    const Caller& caller,
                                                    const MethodObserver& observer,
                                                    bool tolerates_entries) const {
  const auto passes = [&](const BrokenRules& broken) {
    return broken.count() == 0 || (tolerates_entries && broken.only_in_entries());
  };
  EntryFaults faults;
  validator_.Validate(request, faults.rules);
  observer.Violated(faults.rules.rule_counts());
  if (!passes(faults.rules)) return InvalidRequest(faults.rules.listed(), faults.rules.count());
  scope_.Check(request, caller, faults.sites);
  observer.Violated(faults.sites.rule_counts());
  if (!passes(faults.sites)) return SitesNotInToken(faults.sites.listed(), faults.sites.count());
  return faults;
}

absl::StatusOr<Caller> RequestAdmission::Admit(const grpc::CallbackServerContext& context,
                                               grpc::ByteBuffer* bytes,
                                               google::protobuf::Message* request,
                                               const MethodObserver& observer) const {
  absl::StatusOr<Caller> caller = Identify(context);
  if (!caller.ok()) return caller;
  absl::Status passed = Parse(bytes, request, observer);
  if (passed.ok()) passed = Check(*request, *caller, observer).status();
  if (!passed.ok()) return passed;
  return caller;
}

}  // namespace energysites
