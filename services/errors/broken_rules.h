// Collects the violations of a request in bounded memory.
#ifndef SERVICES_ERRORS_BROKEN_RULES_H_
#define SERVICES_ERRORS_BROKEN_RULES_H_

#include <cstddef>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "validation/violation.h"

namespace energysites {

// Lists the first violations of a request. Of further violations it keeps only the count by rule
// and the indexes of the entries: 20 KB of empty entries have 80,000 violations, which would take
// tens of MiB.
class BrokenRules final : public ViolationSink {
 public:
  // All violations of an entry are listed if one of them is among the first.
  static constexpr size_t kMaxListed = 2000;

  bool Accepts(absl::string_view list, int index, const std::string& rule_id) override;
  void Add(Violation violation) override { listed_.push_back(std::move(violation)); }

  const std::vector<Violation>& listed() const { return listed_; }
  // The indexes of entries without a listed violation, ascending.
  const std::vector<int>& unlisted_entries() const { return unlisted_entries_; }
  // Of all violations, listed or not: the number by rule id, the total number, and whether all of
  // them are in entries of a batch.
  const std::map<std::string, int>& rule_counts() const { return rule_counts_; }
  size_t count() const { return count_; }
  bool only_in_entries() const { return only_in_entries_; }

 private:
  std::vector<Violation> listed_;
  std::vector<int> unlisted_entries_;
  std::map<std::string, int> rule_counts_;
  size_t count_ = 0;
  bool only_in_entries_ = true;
  int last_listed_entry_ = -1;
};

}  // namespace energysites

#endif  // SERVICES_ERRORS_BROKEN_RULES_H_
