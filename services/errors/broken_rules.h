// What is wrong with a request, however much that is.
#ifndef SERVICES_ERRORS_BROKEN_RULES_H_
#define SERVICES_ERRORS_BROKEN_RULES_H_

#include <cstddef>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "validation/violation.h"

namespace energysites {

// The first violations of a request. Of those beyond it keeps how often each rule was broken and in
// which entries: 20 KB of empty entries break rules 80,000 times, which would take tens of MiB.
class BrokenRules final : public ViolationSink {
 public:
  // An entry that has one of the first ones is listed with all that is wrong with it.
  static constexpr size_t kMaxListed = 2000;

  bool Wants(absl::string_view list, int index, const std::string& rule_id) override;
  void Take(Violation violation) override { listed_.push_back(std::move(violation)); }

  const std::vector<Violation>& listed() const { return listed_; }
  // Entries of which no violation is listed, by their ascending indexes.
  const std::vector<int>& unlisted_entries() const { return unlisted_entries_; }
  // Of all violations, listed or not: how often each rule was broken, how many they are, and
  // whether each lies in an entry of a batch.
  const std::map<std::string, int>& times() const { return times_; }
  size_t count() const { return count_; }
  bool are_of_entries() const { return are_of_entries_; }

 private:
  std::vector<Violation> listed_;
  std::vector<int> unlisted_entries_;
  std::map<std::string, int> times_;
  size_t count_ = 0;
  bool are_of_entries_ = true;
  int last_listed_entry_ = -1;
};

}  // namespace energysites

#endif  // SERVICES_ERRORS_BROKEN_RULES_H_
