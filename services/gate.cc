#include "services/gate.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "grpcpp/impl/codegen/proto_utils.h"
#include "grpcpp/support/proto_buffer_reader.h"
#include "services/errors.h"

namespace energysites {
namespace {

// What fits into that is harmless, even if it is nothing but empty elements: they make a few MiB.
constexpr size_t kAlwaysParsedBytes = 64 << 10;

}  // namespace

absl::StatusOr<Gate> Gate::Compile(const google::protobuf::Descriptor& request,
                                   absl::string_view sites_path, IdentitySource source) {
  absl::StatusOr<ItemLimits> limits = ItemLimits::Compile(request);
  if (!limits.ok()) return limits.status();
  absl::StatusOr<Validator> validator = Validator::Compile(request);
  if (!validator.ok()) return validator.status();
  absl::StatusOr<SiteScope> scope = SiteScope::Compile(request, sites_path);
  if (!scope.ok()) return scope.status();
  return Gate(*std::move(limits), *std::move(validator), *std::move(scope), source);
}

absl::Status Gate::Parse(grpc::ByteBuffer* bytes, google::protobuf::Message* request,
                         const MethodObserver& observer) const {
  if (bytes->Length() > kAlwaysParsedBytes) {
    grpc::ProtoBufferReader reader(bytes);
    const Violations violations = limits_.TooLong(&reader);
    observer.Violated(violations);
    if (!violations.empty()) return InvalidRequest(violations);
  }
  if (!grpc::SerializationTraits<google::protobuf::Message>::Deserialize(bytes, request).ok()) {
    return MalformedRequest(request->GetDescriptor()->full_name());
  }
  return absl::OkStatus();
}

absl::StatusOr<Gate::Violations> Gate::Check(
    const google::protobuf::Message& request, const Caller& caller, const MethodObserver& observer,
    const std::function<bool(const Violation&)>& tolerates) const {
  const auto all_tolerated = [&](const Violations& violations) {
    return violations.empty() ||
           (tolerates != nullptr && std::all_of(violations.begin(), violations.end(), tolerates));
  };
  Violations violations = validator_.Validate(request);
  observer.Violated(violations);
  if (!all_tolerated(violations)) return InvalidRequest(violations);
  Violations foreign = scope_.Check(request, caller);
  observer.Violated(foreign);
  if (!all_tolerated(foreign)) return SitesNotInToken(foreign);
  std::move(foreign.begin(), foreign.end(), std::back_inserter(violations));
  return violations;
}

}  // namespace energysites
