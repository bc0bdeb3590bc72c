// What is wrong with single entries of a batch.
#ifndef SERVICES_ENTRY_FAILURES_H_
#define SERVICES_ENTRY_FAILURES_H_

#include <map>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "validation/violation.h"

namespace energysites {

// The 499 of `entries[499].soc`; nothing for a path that is not below an entry.
std::optional<int> EntryIndex(absl::string_view field);

// INVALID_ARGUMENT, or PERMISSION_DENIED for a site that is not the caller's, with its violations
// for each entry, by index. All of them are below entries.
std::map<int, absl::Status> EntryFailures(const std::vector<Violation>& violations);

}  // namespace energysites

#endif  // SERVICES_ENTRY_FAILURES_H_
