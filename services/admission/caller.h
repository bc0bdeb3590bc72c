// The identity of a caller and the sites that it may use.
#ifndef SERVICES_ADMISSION_CALLER_H_
#define SERVICES_ADMISSION_CALLER_H_

#include <cstdint>
#include <optional>
#include <set>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "grpcpp/server_context.h"

namespace energysites {

// The source of the caller's identity.
enum class IdentitySource {
  kNone,   // No source: all callers have the same permissions.
  kEnvoy,  // Headers set by Envoy, which authenticates with a client certificate.
};

struct Caller {
  std::string subject;  // Empty with IdentitySource::kNone.
  // The only sites that the caller may use; not set if it may use all sites.
  std::optional<std::set<int64_t>> sites;
};

// Returns the caller. With IdentitySource::kEnvoy, returns UNAUTHENTICATED if the call has no
// client certificate or no valid identity headers. With IdentitySource::kNone, returns
// UNAUTHENTICATED if the call has identity headers: their sender expects limits that this server
// does not enforce.
absl::StatusOr<Caller> CallerOf(const grpc::CallbackServerContext& context, IdentitySource source);

// Returns the owner of the caller's sessions and tokens: its subject if there is one, otherwise the
// names in its certificate.
std::string OwnerOf(const Caller& caller, const grpc::CallbackServerContext& context);

// Returns the subject whose share of a limit the caller uses: that of a token which is restricted
// to sites. Such tokens are for devices, which are many and not trusted. Empty for other callers.
std::string DeviceOf(const Caller& caller);

// Returns the ids in a JSON array of decimal strings or integers, such as `["1","2"]`; nothing if
// `json` is anything else. Rejects numbers from 2^53 on, which JSON parsers round.
std::optional<std::set<int64_t>> ParseSiteIds(absl::string_view json);

}  // namespace energysites

#endif  // SERVICES_ADMISSION_CALLER_H_
