#include "services/errors/broken_rules.h"

namespace energysites {

bool BrokenRules::Accepts(absl::string_view list, int index, const std::string& rule_id) {
  ++count_;
  ++rule_counts_[rule_id];
  // Outside of entries, the maximum length of lists bounds the number of violations.
  if (index < 0 || list != "entries") {
    only_in_entries_ = false;
    return true;
  }
  if (listed_.size() < kMaxListed || index == last_listed_entry_) {
    last_listed_entry_ = index;
    return true;
  }
  if (unlisted_entries_.empty() || unlisted_entries_.back() != index) {
    unlisted_entries_.push_back(index);
  }
  return false;
}

}  // namespace energysites
