#include "services/entry_failures.h"

#include "absl/strings/numbers.h"
#include "absl/strings/strip.h"
#include "services/errors.h"

namespace energysites {

std::optional<int> EntryIndex(absl::string_view field) {
  int index;
  if (!absl::ConsumePrefix(&field, "entries[")) return std::nullopt;
  const size_t end = field.find(']');
  if (end == field.npos || !absl::SimpleAtoi(field.substr(0, end), &index)) return std::nullopt;
  return index;
}

std::map<int, absl::Status> EntryFailures(const std::vector<Violation>& violations) {
  std::map<int, std::vector<Violation>> by_entry;
  for (const Violation& violation : violations) {
    by_entry[*EntryIndex(violation.field)].push_back(violation);
  }
  std::map<int, absl::Status> failures;
  for (const auto& [index, of_entry] : by_entry) failures[index] = InvalidRequest(of_entry);
  return failures;
}

}  // namespace energysites
