// Tells requests apart.
#ifndef SERVICES_RPC_REQUEST_HASH_H_
#define SERVICES_RPC_REQUEST_HASH_H_

#include <cstdint>
#include <optional>
#include <string>

#include "google/protobuf/message.h"
#include "storage/idempotency/write_requests.h"

namespace energysites {

// The same bytes for equal messages, in every process of this version.
std::string CanonicalBytes(const google::protobuf::Message& message);

// SHA-256 over the type and content of `message`.
std::string RequestHash(const google::protobuf::Message& message);

// Clears what callers cannot set (field_behavior OUTPUT_ONLY), in nested messages too.
void ClearOutputFields(google::protobuf::Message* message);

// The memory that a Create call asks for; nothing if it carries no request_id. `site_id` is
// storage::kNoSite if the call is not bound to one site. A dry run asks about the real call.
template <class Request>
std::optional<storage::WriteRequest> WriteRequestOf(const Request& request, int64_t site_id) {
  if (!request.has_request_id()) return std::nullopt;
  Request content = request;
  content.clear_request_id();
  content.clear_validate_only();
  ClearOutputFields(&content);
  return storage::WriteRequest{site_id, request.request_id(), RequestHash(content)};
}

}  // namespace energysites

#endif  // SERVICES_RPC_REQUEST_HASH_H_
