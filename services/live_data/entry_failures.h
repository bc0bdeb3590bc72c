// The errors of single entries of a batch.
#ifndef SERVICES_LIVE_DATA_ENTRY_FAILURES_H_
#define SERVICES_LIVE_DATA_ENTRY_FAILURES_H_

#include <map>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "services/admission/request_admission.h"

namespace energysites {

// Returns the error of each invalid entry by index: INVALID_ARGUMENT, or PERMISSION_DENIED for a
// site that the caller may not use. The first errors have details; the messages of the others state
// that their details are omitted. `path` is the prefix of `entries` in the violations and is
// removed.
std::map<int, absl::Status> EntryFailures(const EntryFaults& faults, absl::string_view path = "");

}  // namespace energysites

#endif  // SERVICES_LIVE_DATA_ENTRY_FAILURES_H_
