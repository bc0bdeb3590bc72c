// The errors that services return, and the only conversion to grpc::Status.
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

// INVALID_ARGUMENT with BadRequest: one field violation, with the rule id as its reason, for each
// of `violations`, which must not be empty. The details are sent in HTTP/2 trailers, which common
// clients limit to 8 KiB. Violations that do not fit are omitted, and the message has the total
// number: `count`, if `violations` has only the first ones.
absl::Status InvalidRequest(const std::vector<Violation>& violations, size_t count = 0);

// PERMISSION_DENIED with the same details: sites that the caller may not use. `violations` must not
// be empty.
absl::Status SitesNotInToken(const std::vector<Violation>& violations, size_t count = 0);

// UNAUTHENTICATED: the server accepts only calls with an identity set by the gateway.
absl::Status IdentityMissing();

// UNAUTHENTICATED: the call has identity headers, which this server does not use.
absl::Status IdentityNotExpected();

// INVALID_ARGUMENT: the bytes are not a valid message of `type`.
absl::Status MalformedRequest(absl::string_view type);

// INVALID_ARGUMENT: the page token is malformed or was issued for a list with other parameters.
absl::Status BadPageToken();

// INVALID_ARGUMENT: the resume token is malformed or was issued for other sites.
absl::Status BadResumeToken();

// NOT_FOUND: the resume token was issued to another caller.
absl::Status ResumeTokenNotFound();

// RESOURCE_EXHAUSTED: the client of a stream reads too slowly. `resume_token` is the token of the
// last response, if responses have tokens.
absl::Status ReaderTooSlow(absl::string_view resume_token = "");

// RESOURCE_EXHAUSTED with RetryInfo: the caller's token is restricted to sites, and its subject has
// the maximum of `max` streams of this kind open.
absl::Status TooManyStreams(size_t max);

// UNAVAILABLE: the server is shutting down; the call may be retried.
absl::Status ShuttingDown();

// Returns the status to send: code, message and details. The message of an INTERNAL status is
// replaced by a fixed text.
grpc::Status ToGrpc(const absl::Status& status);

// As above, for the end of the call of `context`: for RESOURCE_EXHAUSTED also sets the trailer that
// delays the retries of gRPC clients with a retry policy.
grpc::Status ToGrpc(const absl::Status& status, grpc::CallbackServerContext& context);

}  // namespace energysites

#endif  // SERVICES_ERRORS_ERRORS_H_
