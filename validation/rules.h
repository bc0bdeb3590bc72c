// The supported rules; rules.cc has one table row for each.
#ifndef ENERGYSITES_VALIDATION_RULES_H_
#define ENERGYSITES_VALIDATION_RULES_H_

#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "buf/validate/validate.pb.h"
#include "google/protobuf/message.h"
#include "validation/value.h"

namespace energysites {

// A compiled rule.
struct Check {
  std::string rule_id;
  std::string expectation;  // Error text: "must be from 0 to 100".
  std::function<bool(const Value&)> passes;
};

// Returns the error text for `value`, which does not pass `check`.
std::string Describe(const Check& check, const Value& value);

// Returns the declared rules of `field`. For google.protobuf.FieldMask.paths, which is declared in
// a third-party file, returns a `max_items` of 1,000, more than the fields of any message.
const buf::validate::FieldRules& RulesOf(const google::protobuf::FieldDescriptor& field);

// Compiles the rules that are set in `rules`: a buf.validate.DoubleRules, StringRules and so on,
// which is the field `kind` ("double", "string") of buf.validate.FieldRules. Does not compile
// `repeated.items`.
//
// Returns UNIMPLEMENTED with the name of the rule if one is not supported.
absl::StatusOr<std::vector<Check>> CompileRules(const std::string& kind,
                                                const google::protobuf::Message& rules);

// Returns the check that applies to every timestamp: nanos from 0 to 999,999,999.
Check TimestampValid();

}  // namespace energysites

#endif  // ENERGYSITES_VALIDATION_RULES_H_
