// The errors that storage answers with, as absl::Status with google.rpc details as payloads.
#ifndef STORAGE_ERRORS_ERRORS_H_
#define STORAGE_ERRORS_ERRORS_H_

#include <cstdint>
#include <map>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "google/protobuf/message.h"
#include "google/rpc/status.pb.h"

namespace energysites::storage {

// Attaches a google.rpc detail (BadRequest, ErrorInfo, RetryInfo ...) for a program to read.
void AddDetail(absl::Status& status, const google::protobuf::Message& detail);

// `status` with an ErrorInfo of this service.
absl::Status WithErrorInfo(absl::Status status, absl::string_view reason,
                           const std::map<std::string, std::string>& metadata = {});

// `status`, and when the caller may try again.
absl::Status WithRetryInfo(absl::Status status);

// NOT_FOUND with ResourceInfo.
absl::Status SiteNotFound(int64_t id);
absl::Status ConfigurationNotFound(int64_t site_id, int64_t id);
absl::Status LiveDataEntryNotFound(int64_t site_id, int64_t id);

// NOT_FOUND for a batch that is stored whole or not at all: each entry of `failures` (by index) as
// a violation of `entries[i].site_id`; the first few hundred at most, so that they fit into
// trailers.
absl::Status EntriesWithoutSite(const std::map<int, absl::Status>& failures);

// One of many failures of a batch, of which only the first have details: code and text of `status`,
// and how to get the rest. One that has no details already stays as it is.
absl::Status WithoutDetails(const absl::Status& status);

// ABORTED: someone changed the resource since the caller read `etag`.
absl::Status StaleEtag(absl::string_view resource);

// ALREADY_EXISTS: the request_id was used for a request with other content.
absl::Status RequestIdReused(absl::string_view request_id);

// FAILED_PRECONDITION: retention has dropped the month of the entry, or is about to.
absl::Status EntryNoLongerKept();

// FAILED_PRECONDITION: the database refuses an entry that keeps all rules of the contract.
// Names the SQLSTATE, by which an operator finds the rule.
absl::Status EntryRefused(absl::string_view sqlstate);

// ABORTED: another stream has opened the session of IngestLiveData since.
absl::Status IngestSessionTakenOver();

// NOT_FOUND: the caller resumes a session of IngestLiveData that it does not have.
absl::Status IngestSessionNotFound(absl::string_view name);

// FAILED_PRECONDITION: the session has committed less than its client was told.
absl::Status IngestSessionForgotten();

// ALREADY_EXISTS: a batch of IngestLiveData has the sequence number of an earlier batch of the
// session, and other content.
absl::Status IngestSequenceReused(int64_t sequence);

// FAILED_PRECONDITION: a repeated batch of IngestLiveData is not one of the last `kept` batches of
// the session.
absl::Status IngestSequenceTooOld(int64_t sequence, size_t kept);

// UNAVAILABLE with RetryInfo: the database cannot be reached; nothing is known to be stored.
absl::Status DatabaseUnavailable(absl::string_view why);

// DEADLINE_EXCEEDED without RetryInfo: the database did not answer, and may still apply the write.
absl::Status DatabaseSilent();
bool IsDatabaseSilent(const absl::Status& status);

// ABORTED with RetryInfo: blocked by another transaction.
absl::Status Conflict();

// RESOURCE_EXHAUSTED with RetryInfo: as many calls wait as the server allows.
absl::Status QueueFull();

// The status as callers see it, with its details. INTERNAL gets a fixed text.
google::rpc::Status ToRpcStatus(const absl::Status& status);

// Not for callers: the job did a part of its work and is to be queued again.
absl::Status Unfinished();
bool IsUnfinished(const absl::Status& status);

}  // namespace energysites::storage

#endif  // STORAGE_ERRORS_ERRORS_H_
