#ifndef ENERGYSITES_VALIDATION_VIOLATION_H_
#define ENERGYSITES_VALIDATION_VIOLATION_H_

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"

namespace energysites {

// A rule that a field violates.
struct Violation {
  std::string field;  // Path from the validated message: `live_data_entry.soc`, `entries[499].soc`.
  std::string rule_id;  // As protovalidate names it: `double.gte_lte`.
  std::string message;  // The allowed values and the value that was sent.
};

// Receives violations as they are found.
class ViolationSink {
 public:
  virtual ~ViolationSink() = default;

  // Called for every violation, in order. `list` is the outermost list field on its path and
  // `index` the element; `index` is -1 if there is no list on the path. Returns whether to format
  // the violation and pass it to Add.
  virtual bool Accepts(absl::string_view list, int index, const std::string& rule_id) = 0;
  virtual void Add(Violation violation) = 0;
};

// Keeps all violations.
class ViolationList final : public ViolationSink {
 public:
  bool Accepts(absl::string_view, int, const std::string&) override { return true; }
  void Add(Violation violation) override { violations_.push_back(std::move(violation)); }

  std::vector<Violation> TakeAll() { return std::move(violations_); }

 private:
  std::vector<Violation> violations_;
};

}  // namespace energysites

#endif  // ENERGYSITES_VALIDATION_VIOLATION_H_
