// The errors that services answer with, and the one place that makes a grpc::Status.
#ifndef SERVICES_ERRORS_ERRORS_H_
#define SERVICES_ERRORS_ERRORS_H_

#include <cstddef>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "grpcpp/server_context.h"
#include "grpcpp/support/status.h"
#include "validation/violation.h"

namespace energysites {

// INVALID_ARGUMENT with BadRequest: one field violation for each of `violations`, its reason the
// rule id. They travel in HTTP/2 trailers, which common clients cap at 8 KiB: when they do not
// fit, the last are left out and the message says how many there are: `count`, if `violations` are
// but the first ones. `violations` is not empty.
absl::Status InvalidRequest(const std::vector<Violation>& violations, size_t count = 0);

// As InvalidRequest, where the details travel in the body of an HTTP answer: 1,000 violations fit.
absl::Status InvalidBody(const std::vector<Violation>& violations, size_t count);

// INVALID_ARGUMENT: the body of a REST call is not a JSON object; `why` says what it is instead,
// and what to send.
absl::Status BadJson(absl::string_view why);

// PERMISSION_DENIED with the same details: sites that are not the caller's. `violations` is not
// empty.
absl::Status SitesNotInToken(const std::vector<Violation>& violations, size_t count = 0);

// UNAUTHENTICATED: the server takes calls only from a gateway that says who calls.
absl::Status IdentityMissing();

// UNAUTHENTICATED: the call says who calls, and the server would not heed it.
absl::Status IdentityNotExpected();

// INVALID_ARGUMENT: the bytes are no message of `type`.
absl::Status MalformedRequest(absl::string_view type);

// INVALID_ARGUMENT: the page token is not one of ours, or belongs to a list with other parameters.
absl::Status BadPageToken();

// INVALID_ARGUMENT: the resume token is not one of ours, or belongs to other sites.
absl::Status BadResumeToken();

// NOT_FOUND: the resume token is another caller's.
absl::Status ResumeTokenNotFound();

// RESOURCE_EXHAUSTED: the client of a stream takes its answers too slowly. With the token of the
// last one, where there are tokens.
absl::Status ReaderTooSlow(absl::string_view resume_token = "");

// RESOURCE_EXHAUSTED with RetryInfo: the caller's token is bound to sites, and its subject has
// `most` streams of the kind open, which is all that it may have.
absl::Status TooManyStreams(size_t most);

// UNAVAILABLE: the server shuts down; another one, or a later one, takes the call.
absl::Status ShuttingDown();

// What gRPC sends: code, text and details. The text of an INTERNAL status stays here.
grpc::Status ToGrpc(const absl::Status& status);

// The same at the end of the call of `context`: clients with a retry policy wait as long as its
// trailers ask them to.
grpc::Status ToGrpc(const absl::Status& status, grpc::CallbackServerContext& context);

}  // namespace energysites

#endif  // SERVICES_ERRORS_ERRORS_H_
