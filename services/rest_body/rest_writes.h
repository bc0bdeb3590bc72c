// The REST calls that write, and what of them Envoy would drop or turn into something else without
// a word.
#ifndef SERVICES_REST_BODY_REST_WRITES_H_
#define SERVICES_REST_BODY_REST_WRITES_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "google/protobuf/descriptor.h"

namespace energysites {

// The header fields of a REST call that say what its body is; empty where there are none.
struct BodyHeaders {
  absl::string_view content_type;
  absl::string_view content_encoding;
};

// Learns paths and types from the google.api.http options of the contract. Safe from any thread.
class RestWrites {
 public:
  // For the services of `file`s of the contract.
  explicit RestWrites(const std::vector<const google::protobuf::ServiceDescriptor*>& services);

  // OK if Envoy reads all that `path` (with or without a query) and `body` say, and as it was
  // meant; or if no method is there, which Envoy refuses itself. Else INVALID_ARGUMENT: because the
  // body is no JSON, or with all fields that the contract does not know (`field.known`), times that
  // are objects (`json.text`), and query parameters that are in the path already (`path.once`), of
  // which Envoy would take the last. Takes memory in proportion to the depth of `body` only.
  // `headers` serve to say why a body is no JSON.
  absl::Status Check(absl::string_view http_method, absl::string_view path, absl::string_view body,
                     const BodyHeaders& headers = {}) const;

 private:
  struct Binding {
    std::string http_method;
    std::vector<std::string> segments;   // `{site.id}` for one that is a variable.
    std::vector<std::string> variables;  // `site.id`, and as JSON spells it.
    const google::protobuf::Descriptor* body;
    std::string prefix;  // The body's place in the request, `site.`, or empty for all of it.
  };

  const Binding* Find(absl::string_view http_method, absl::string_view path) const;

  std::vector<Binding> bindings_;
};

}  // namespace energysites

#endif  // SERVICES_REST_BODY_REST_WRITES_H_
