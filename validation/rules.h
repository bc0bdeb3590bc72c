// The rules that can be declared, one row each in rules.cc.
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

// One rule, ready to run.
struct Check {
  std::string rule_id;
  std::string expectation;  // For people: "must be from 0 to 100".
  std::function<bool(const Value&)> passes;
};

// Returns what `check` expects and that `value`, which does not pass, is something else.
std::string Describe(const Check& check, const Value& value);

// Returns the rules of `field`: those declared, and for google.protobuf.FieldMask.paths, which is
// not ours to declare rules at, at most 1,000 items: more than any message has fields.
const buf::validate::FieldRules& RulesOf(const google::protobuf::FieldDescriptor& field);

// Compiles the rules set in `rules`: a buf.validate.DoubleRules, StringRules and so on, found in
// buf.validate.FieldRules as `kind` ("double", "string"). `repeated.items` is left to the caller.
//
// Returns UNIMPLEMENTED, naming the rule, if one is not in the table.
absl::StatusOr<std::vector<Check>> CompileRules(const std::string& kind,
                                                const google::protobuf::Message& rules);

// Returns the check that every timestamp gets: nanos from 0 to 999,999,999.
Check TimestampValid();

}  // namespace energysites

#endif  // ENERGYSITES_VALIDATION_RULES_H_
