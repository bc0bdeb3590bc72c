// Hashes of requests, to detect repeated ones.
#ifndef SERVICES_RPC_REQUEST_HASH_H_
#define SERVICES_RPC_REQUEST_HASH_H_

#include <cstdint>
#include <optional>
#include <string>

#include "google/protobuf/message.h"
#include "storage/idempotency/write_requests.h"

namespace energysites {

// Returns the same bytes for equal messages, in every process of the same version.
std::string CanonicalBytes(const google::protobuf::Message& message);

// Returns the SHA-256 hash of the type and content of `message`.
std::string RequestHash(const google::protobuf::Message& message);

// Clears the fields with field_behavior OUTPUT_ONLY, also in nested messages.
void ClearOutputFields(google::protobuf::Message* message);

// Returns the idempotency record for a Create call; nothing if it has no request_id. `site_id` is
// storage::kNoSite if the call does not belong to one site. A call with validate_only has the same
// record as the call without it.
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
