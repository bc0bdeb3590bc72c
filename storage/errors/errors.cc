#include "storage/errors/errors.h"

#include "absl/strings/cord.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "google/rpc/error_details.pb.h"

namespace energysites::storage {
namespace {

constexpr char kUnfinishedUrl[] = "energysites/unfinished";
constexpr char kSilentUrl[] = "energysites/silent";

constexpr char kDetailPrefix[] = "type.googleapis.com/";

// What a caller learns of our own faults; the rest is in the log.
constexpr char kInternalText[] = "internal error; the log of the server has the details";

// Details travel in HTTP/2 trailers, which common clients cap at 8 KiB.
constexpr size_t kMaxDetailBytes = 4096;

constexpr absl::Duration kRetryDelay = absl::Seconds(1);

absl::Status NotFound(absl::string_view type, absl::string_view name, absl::string_view text) {
  absl::Status status = absl::NotFoundError(text);
  google::rpc::ResourceInfo resource;
  resource.set_resource_type(std::string(type));
  resource.set_resource_name(std::string(name));
  resource.set_description(std::string(text));
  AddDetail(status, resource);
  return status;
}

}  // namespace

void AddDetail(absl::Status& status, const google::protobuf::Message& detail) {
  status.SetPayload(absl::StrCat(kDetailPrefix, detail.GetDescriptor()->full_name()),
                    absl::Cord(detail.SerializeAsString()));
}

absl::Status WithErrorInfo(absl::Status status, absl::string_view reason,
                           const std::map<std::string, std::string>& metadata) {
  google::rpc::ErrorInfo info;
  info.mutable_metadata()->insert(metadata.begin(), metadata.end());
  info.set_reason(std::string(reason));
  info.set_domain("energysites.v1");
  AddDetail(status, info);
  return status;
}

absl::Status WithRetryInfo(absl::Status status) {
  google::rpc::RetryInfo retry;
  retry.mutable_retry_delay()->set_seconds(absl::ToInt64Seconds(kRetryDelay));
  AddDetail(status, retry);
  return status;
}

absl::Status SiteNotFound(int64_t id) {
  return NotFound("energysites.v1.Site", absl::StrCat(id), absl::StrCat("no site has id ", id));
}

absl::Status ConfigurationNotFound(int64_t site_id, int64_t id) {
  return NotFound("energysites.v1.Configuration", absl::StrCat(site_id, "/", id),
                  absl::StrCat("site ", site_id, " has no configuration with id ", id));
}

absl::Status LiveDataEntryNotFound(int64_t site_id, int64_t id) {
  return NotFound("energysites.v1.LiveDataEntry", absl::StrCat(site_id, "/", id),
                  absl::StrCat("site ", site_id, " has no live data entry with id ", id));
}

absl::Status EntriesWithoutSite(const std::map<int, absl::Status>& failures) {
  google::rpc::BadRequest bad_request;
  for (const auto& [index, status] : failures) {
    auto* violation = bad_request.add_field_violations();
    violation->set_field(absl::StrCat("entries[", index, "].site_id"));
    violation->set_description(std::string(status.message()));
    violation->set_reason("SITE_NOT_FOUND");
    if (bad_request.ByteSizeLong() > kMaxDetailBytes) break;
  }
  // With the ResourceInfo of the first.
  const auto& [index, first] = *failures.begin();
  absl::Status status = absl::NotFoundError(
      absl::StrCat("entries[", index, "].site_id: ", first.message(),
                   failures.size() > 1 ? absl::StrCat(" (and ", failures.size() - 1, " more)") : "",
                   "; nothing was stored"));
  first.ForEachPayload(
      [&](absl::string_view url, const absl::Cord& payload) { status.SetPayload(url, payload); });
  AddDetail(status, bad_request);
  return status;
}

absl::Status WithoutDetails(const absl::Status& status) {
  constexpr absl::string_view kLeftOut = "; details omitted: send fewer entries";
  if (absl::EndsWith(status.message(), kLeftOut)) return status;
  return absl::Status(status.code(), absl::StrCat(status.message(), kLeftOut));
}

google::rpc::Status ToRpcStatus(const absl::Status& status) {
  google::rpc::Status rpc_status;
  rpc_status.set_code(static_cast<int>(status.code()));
  rpc_status.set_message(absl::IsInternal(status) ? kInternalText : std::string(status.message()));
  // Abseil visits payloads in no order that stays; callers get the same details every time.
  std::map<std::string, std::string> details;
  status.ForEachPayload([&](absl::string_view url, const absl::Cord& payload) {
    if (absl::StartsWith(url, kDetailPrefix)) details.emplace(url, payload);
  });
  for (const auto& [url, payload] : details) {
    google::protobuf::Any* detail = rpc_status.add_details();
    detail->set_type_url(url);
    detail->set_value(payload);
  }
  return rpc_status;
}

absl::Status StaleEtag(absl::string_view resource) {
  return WithErrorInfo(
      absl::AbortedError(absl::StrCat("the ", resource,
                                      " was changed after it was read: read it again, then retry")),
      "STALE_ETAG");
}

absl::Status RequestIdReused(absl::string_view request_id) {
  return WithErrorInfo(absl::AlreadyExistsError(absl::StrCat("request_id ", request_id,
                                                             " was used for a different request")),
                       "REQUEST_ID_REUSED");
}

absl::Status EntryNoLongerKept() {
  return WithErrorInfo(absl::FailedPreconditionError("dt_stamp is older than the retention period"),
                       "ENTRY_NO_LONGER_KEPT");
}

absl::Status EntryRefused(absl::string_view sqlstate) {
  return WithErrorInfo(
      absl::FailedPreconditionError(absl::StrCat(
          "a constraint of the database forbids this entry (SQLSTATE ", sqlstate, ")")),
      "ENTRY_REFUSED");
}

absl::Status IngestSessionTakenOver() {
  return WithErrorInfo(absl::AbortedError("another stream has opened the session"),
                       "INGEST_SESSION_TAKEN_OVER");
}

absl::Status IngestSessionNotFound(absl::string_view name) {
  return WithErrorInfo(
      absl::NotFoundError(absl::StrCat("the caller has no ingest session ", name,
                                       ": it belongs to another caller, or it has expired")),
      "INGEST_SESSION_NOT_FOUND");
}

absl::Status IngestSessionForgotten() {
  return WithErrorInfo(
      absl::FailedPreconditionError("start.acknowledged_sequence is higher than the last sequence "
                                    "that the session has committed: an earlier session of this "
                                    "name has expired"),
      "INGEST_SESSION_FORGOTTEN");
}

absl::Status IngestSequenceReused(int64_t sequence) {
  return WithErrorInfo(
      absl::AlreadyExistsError(absl::StrCat(
          "batch ", sequence,
          " of the session was sent before with other content, and this one is not stored; "
          "continue after committed_sequence, or open a session with a new name")),
      "INGEST_SEQUENCE_REUSED");
}

absl::Status IngestSequenceTooOld(int64_t sequence, size_t kept) {
  return WithErrorInfo(
      absl::FailedPreconditionError(absl::StrCat(
          "batch ", sequence, " of the session was committed before its last ", kept,
          " batches, so the server cannot tell whether this one has the same content, and does "
          "not store it; continue after committed_sequence, or open a session with a new name")),
      "INGEST_SEQUENCE_TOO_OLD");
}

absl::Status DatabaseUnavailable(absl::string_view why) {
  return WithRetryInfo(WithErrorInfo(absl::UnavailableError(why), "DATABASE_UNAVAILABLE"));
}

absl::Status DatabaseSilent() {
  absl::Status status = WithErrorInfo(
      absl::DeadlineExceededError(
          "the database did not answer in time; a write may still take effect: read before you "
          "send it again, or send it again with the same request_id"),
      "DATABASE_SILENT");
  status.SetPayload(kSilentUrl, absl::Cord());
  return status;
}

bool IsDatabaseSilent(const absl::Status& status) {
  return status.GetPayload(kSilentUrl).has_value();
}

absl::Status Conflict() {
  return WithRetryInfo(WithErrorInfo(
      absl::AbortedError("another call changed the same data at the same time; retry"),
      "CONFLICT"));
}

absl::Status QueueFull() {
  return WithRetryInfo(
      WithErrorInfo(absl::ResourceExhaustedError("server overloaded; retry later"), "QUEUE_FULL"));
}

absl::Status Unfinished() {
  absl::Status status = absl::UnavailableError("unfinished");
  status.SetPayload(kUnfinishedUrl, absl::Cord());
  return status;
}

bool IsUnfinished(const absl::Status& status) {
  return status.GetPayload(kUnfinishedUrl).has_value();
}

}  // namespace energysites::storage
