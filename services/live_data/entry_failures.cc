#include "services/live_data/entry_failures.h"

#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/strip.h"
#include "services/errors/errors.h"
#include "storage/errors/errors.h"

namespace energysites {
namespace {

// Returns 499 for `entries[499].soc`.
int EntryIndex(absl::string_view field) {
  int index = -1;
  absl::ConsumePrefix(&field, "entries[");
  static_cast<void>(absl::SimpleAtoi(field.substr(0, field.find(']')), &index));
  return index;
}

std::map<int, std::vector<Violation>> ByEntry(const BrokenRules& broken, absl::string_view path) {
  std::map<int, std::vector<Violation>> by_entry;
  for (Violation violation : broken.listed()) {
    violation.field.erase(0, path.size());
    const int index = EntryIndex(violation.field);
    by_entry[index].push_back(std::move(violation));
  }
  return by_entry;
}

}  // namespace

std::map<int, absl::Status> EntryFailures(const EntryFaults& faults, absl::string_view path) {
  std::map<int, absl::Status> failures;
  for (const auto& [index, of_entry] : ByEntry(faults.rules, path)) {
    failures[index] = InvalidRequest(of_entry);
  }
  const absl::Status broken =
      storage::WithoutDetails(absl::InvalidArgumentError("breaks rules of the contract"));
  for (const int index : faults.rules.unlisted_entries()) failures[index] = broken;
  // For an entry with both, the violated rules are reported, as for a whole request.
  for (const auto& [index, of_entry] : ByEntry(faults.sites, path)) {
    if (failures.count(index) == 0) failures[index] = SitesNotInToken(of_entry);
  }
  const absl::Status foreign = storage::WithoutDetails(
      absl::PermissionDeniedError("its site is none that the caller's token is bound to"));
  for (const int index : faults.sites.unlisted_entries()) failures.emplace(index, foreign);
  return failures;
}

}  // namespace energysites
