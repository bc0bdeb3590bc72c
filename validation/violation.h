#ifndef ENERGYSITES_VALIDATION_VIOLATION_H_
#define ENERGYSITES_VALIDATION_VIOLATION_H_

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"

namespace energysites {

// One broken rule of one field.
struct Violation {
  std::string field;  // Path from the validated message: `live_data_entry.soc`, `entries[499].soc`.
  std::string rule_id;  // As protovalidate names it: `double.gte_lte`.
  std::string message;  // What is allowed and what was sent, for people.
};

// Takes violations as they are found.
class ViolationSink {
 public:
  virtual ~ViolationSink() = default;

  // Called for every violation, in order. It lies in element `index` of the list field named
  // `list`, the outermost one on its path; in none if `index` is -1. If the result is true, Take
  // gets the violation, whose texts are made only then.
  virtual bool Wants(absl::string_view list, int index, const std::string& rule_id) = 0;
  virtual void Take(Violation violation) = 0;
};

// Takes all.
class ViolationList final : public ViolationSink {
 public:
  bool Wants(absl::string_view, int, const std::string&) override { return true; }
  void Take(Violation violation) override { violations_.push_back(std::move(violation)); }

  std::vector<Violation> TakeAll() { return std::move(violations_); }

 private:
  std::vector<Violation> violations_;
};

}  // namespace energysites

#endif  // ENERGYSITES_VALIDATION_VIOLATION_H_
