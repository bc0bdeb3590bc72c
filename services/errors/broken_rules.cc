#include "services/errors/broken_rules.h"

namespace energysites {

bool BrokenRules::Wants(absl::string_view list, int index, const std::string& rule_id) {
  ++count_;
  ++times_[rule_id];
  // Outside of entries, the length of a request's lists bounds what can be wrong.
  if (index < 0 || list != "entries") {
    are_of_entries_ = false;
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
