#include "services/entry_failures.h"

#include "absl/strings/numbers.h"
#include "absl/strings/strip.h"
#include "services/errors.h"
#include "services/site_scope.h"

namespace energysites {

std::optional<int> EntryIndex(absl::string_view field) {
  int index;
  if (!absl::ConsumePrefix(&field, "entries[")) return std::nullopt;
  const size_t end = field.find(']');
  if (end == field.npos || !absl::SimpleAtoi(field.substr(0, end), &index)) return std::nullopt;
  return index;
}

std::map<int, absl::Status> EntryFailures(const std::vector<Violation>& violations) {
  std::map<int, std::vector<Violation>> broken, foreign;
  for (const Violation& violation : violations) {
    auto& by_entry = violation.rule_id == kSiteNotInToken ? foreign : broken;
    by_entry[*EntryIndex(violation.field)].push_back(violation);
  }
  std::map<int, absl::Status> failures;
  for (const auto& [index, of_entry] : broken) failures[index] = InvalidRequest(of_entry);
  // An entry that is wrong twice is told of the rules, as a whole request is.
  for (const auto& [index, of_entry] : foreign) failures.emplace(index, SitesNotInToken(of_entry));
  return failures;
}

}  // namespace energysites
