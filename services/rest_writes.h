// The REST calls with a body, and which fields of their bodies the contract does not know: Envoy
// drops these without a word.
#ifndef SERVICES_REST_WRITES_H_
#define SERVICES_REST_WRITES_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "google/protobuf/descriptor.h"

namespace energysites {

// Learns paths and types from the google.api.http options of the contract. Safe from any thread.
class RestWrites {
 public:
  // For the services of `file`s of the contract.
  explicit RestWrites(const std::vector<const google::protobuf::ServiceDescriptor*>& services);

  // OK if Envoy, too, reads all that `body` says: every field is known, or it is empty, or no
  // method takes a body at `path` (with or without a query), which Envoy refuses itself. Else
  // INVALID_ARGUMENT with all unknown fields (`field.known`), or because it is no JSON. Takes
  // memory in proportion to the depth of `body` only.
  absl::Status Check(absl::string_view http_method, absl::string_view path,
                     absl::string_view body) const;

 private:
  struct Binding {
    std::string http_method;
    std::vector<std::string> segments;  // `{site.id}` for one that is a variable.
    const google::protobuf::Descriptor* body;
    std::string prefix;  // The body's place in the request, `site.`, or empty for all of it.
  };

  const Binding* Find(absl::string_view http_method, absl::string_view path) const;

  std::vector<Binding> bindings_;
};

}  // namespace energysites

#endif  // SERVICES_REST_WRITES_H_
