// What is wrong with single entries of a batch.
#ifndef SERVICES_LIVE_DATA_ENTRY_FAILURES_H_
#define SERVICES_LIVE_DATA_ENTRY_FAILURES_H_

#include <map>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "services/admission/gate.h"

namespace energysites {

// INVALID_ARGUMENT, or PERMISSION_DENIED for a site that is not the caller's, for each entry, by
// index. The first have their violations, the others say that these were left out. `path` stands
// before `entries` in the violations, and is cut off.
std::map<int, absl::Status> EntryFailures(const EntryFaults& faults, absl::string_view path = "");

}  // namespace energysites

#endif  // SERVICES_LIVE_DATA_ENTRY_FAILURES_H_
