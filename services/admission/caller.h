// Who calls, and which sites that caller may use.
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

// Where the server learns who calls.
enum class IdentitySource {
  kNone,   // Nowhere: all callers are alike.
  kEnvoy,  // From the headers of a gateway that shows a client certificate.
};

struct Caller {
  std::string subject;  // Empty where callers have no names.
  // The only sites that the caller may use; nothing if it may use all.
  std::optional<std::set<int64_t>> sites;
};

// Whether the peer may ask what is nobody's in particular: the gateway alone, where it is `source`.
bool MayAsk(const grpc::CallbackServerContext& context, IdentitySource source);

// Returns UNAUTHENTICATED if `source` is the gateway, and the call comes without its certificate or
// without headers that can be read; and if it is not, and the call has such headers, for whoever
// sent them counts on limits that nobody would keep.
absl::StatusOr<Caller> CallerOf(const grpc::CallbackServerContext& context, IdentitySource source);

// Whose the caller's sessions and tokens are: its subject, or else the names in its certificate.
std::string OwnerOf(const Caller& caller, const grpc::CallbackServerContext& context);

// The ids in a JSON array of decimal strings or whole numbers, such as `["1","2"]`; nothing if
// `json` is anything else. Numbers beyond 2^53 are refused: JSON has lost their last digits.
std::optional<std::set<int64_t>> ParseSiteIds(absl::string_view json);

}  // namespace energysites

#endif  // SERVICES_ADMISSION_CALLER_H_
