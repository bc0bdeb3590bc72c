#include "services/errors/errors.h"

#include <algorithm>
#include <map>
#include <string>

#include "absl/strings/str_cat.h"
#include "google/rpc/error_details.pb.h"
#include "storage/errors/errors.h"

namespace energysites {
namespace {

using storage::WithErrorInfo;

// Of the 8 KiB, half for the violations in binary; the text below repeats the first few, and
// percent-encoding may triple it.
constexpr size_t kMaxTrailerBytes = 4096;
constexpr size_t kMaxMessageBytes = 512;
constexpr size_t kMaxTextBytes = 512;

// At most kMaxTextBytes of `text`, whole characters, so that one violation always fits. Paths, too,
// may be long: callers give their unknown fields any name.
std::string Cut(const std::string& text) {
  if (text.size() <= kMaxTextBytes) return text;
  size_t size = kMaxTextBytes;
  while (size > 0 && (text[size] & 0xC0) == 0x80) --size;
  return text.substr(0, size);
}

absl::Status InvalidArgument(absl::string_view message, absl::string_view reason) {
  return WithErrorInfo(absl::InvalidArgumentError(message), reason);
}

// A status of `code` with as many of the violations as fit.
absl::Status WithViolations(absl::StatusCode code, const std::vector<Violation>& violations,
                            size_t count, absl::string_view reason) {
  count = std::max(count, violations.size());
  google::rpc::BadRequest bad_request;
  std::string message;
  size_t detail_bytes = 0;
  size_t named = 0;
  for (const Violation& violation : violations) {
    google::rpc::BadRequest::FieldViolation detail;
    const std::string field = Cut(violation.field);
    detail.set_field(field);
    const std::string description = Cut(violation.message);
    detail.set_description(description);
    detail.set_reason(violation.rule_id);
    detail_bytes += detail.ByteSizeLong() + 4;
    if (detail_bytes > kMaxTrailerBytes) break;
    *bad_request.add_field_violations() = std::move(detail);
    const std::string text = absl::StrCat(field, field.empty() ? "the call " : ": ", description);
    if (named + 1 == static_cast<size_t>(bad_request.field_violations_size()) &&
        (named == 0 || message.size() + text.size() < kMaxMessageBytes)) {
      absl::StrAppend(&message, named == 0 ? "" : "; ", text);
      ++named;
    }
  }
  if (named < count) {
    absl::StrAppend(&message, " (", count, " violations in all)");
  }
  absl::Status status = WithErrorInfo(absl::Status(code, message), reason);
  storage::AddDetail(status, bad_request);
  return status;
}

}  // namespace

absl::Status InvalidRequest(const std::vector<Violation>& violations, size_t count) {
  return WithViolations(absl::StatusCode::kInvalidArgument, violations, count, "INVALID_REQUEST");
}

absl::Status SitesNotInToken(const std::vector<Violation>& violations, size_t count) {
  return WithViolations(absl::StatusCode::kPermissionDenied, violations, count,
                        "SITE_NOT_IN_TOKEN");
}

absl::Status IdentityMissing() {
  return WithErrorInfo(
      absl::UnauthenticatedError("the call carries no identity from the gateway; send it through "
                                 "the gateway"),
      "IDENTITY_MISSING");
}

absl::Status IdentityNotExpected() {
  return WithErrorInfo(absl::UnauthenticatedError(
                           "the call carries identity headers, and this server does not use them: "
                           "it runs without --identity=envoy"),
                       "IDENTITY_NOT_EXPECTED");
}

absl::Status MalformedRequest(absl::string_view type) {
  return InvalidArgument(absl::StrCat("the request is not a valid ", type,
                                      ": malformed encoding, or text that is not UTF-8"),
                         "MALFORMED_REQUEST");
}

absl::Status BadPageToken() {
  return InvalidRequest({{"page_token", "page_token.valid",
                          "must be the next_page_token of a call with the same parameters; "
                          "start again without it"}});
}

absl::Status BadResumeToken() {
  return InvalidRequest({{"resume_token", "resume_token.valid",
                          "must be the resume_token of an answer about the same sites; "
                          "start again without it"}});
}

absl::Status ResumeTokenNotFound() {
  return WithErrorInfo(
      absl::NotFoundError("resume_token was issued to another caller; start again without it"),
      "RESUME_TOKEN_NOT_FOUND");
}

absl::Status ReaderTooSlow(absl::string_view resume_token) {
  std::map<std::string, std::string> metadata;
  if (!resume_token.empty()) metadata["resume_token"] = std::string(resume_token);
  return WithErrorInfo(absl::ResourceExhaustedError("the client reads the responses too slowly"),
                       "READER_TOO_SLOW", metadata);
}

absl::Status TooManyStreams(size_t most) {
  return storage::WithRetryInfo(WithErrorInfo(
      absl::ResourceExhaustedError(absl::StrCat(
          "the subject of the token has ", most,
          " such streams open, the maximum for tokens that are restricted to sites; close one, or "
          "try again later")),
      "TOO_MANY_STREAMS"));
}

absl::Status ShuttingDown() {
  return WithErrorInfo(absl::UnavailableError("the server is shutting down; retry"),
                       "SHUTTING_DOWN");
}

grpc::Status ToGrpc(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  const google::rpc::Status rpc_status = storage::ToRpcStatus(status);
  return grpc::Status(static_cast<grpc::StatusCode>(rpc_status.code()), rpc_status.message(),
                      rpc_status.SerializeAsString());
}

grpc::Status ToGrpc(const absl::Status& status, grpc::CallbackServerContext& context) {
  if (absl::IsResourceExhausted(status)) {
    context.AddTrailingMetadata("grpc-retry-pushback-ms", "1000");
  }
  return ToGrpc(status);
}

}  // namespace energysites
