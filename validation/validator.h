// Runs the buf.validate rules that the .proto files declare.
#ifndef ENERGYSITES_VALIDATION_VALIDATOR_H_
#define ENERGYSITES_VALIDATION_VALIDATOR_H_

#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "validation/violation.h"

namespace google::protobuf {
class Descriptor;
class Message;
}  // namespace google::protobuf

namespace energysites {

// Validates messages of one type. Immutable, cheap to copy, safe to use from any thread.
//
// Verdicts, paths and rule ids are those of protovalidate, with four differences:
// - Every google.protobuf.Timestamp must have nanos from 0 to 999,999,999 (`timestamp.valid`).
// - In an Update request (see update_mask.h) the resource's rules apply to the fields to update,
//   and the mask itself is checked (`field_mask.settable`, `field_mask.not_empty`).
// - A google.protobuf.FieldMask must have at most 1,000 paths (`repeated.max_items`).
// - The elements of a list longer than its `max_items` are not looked at, so that a caller cannot
//   fill the server's memory with violations.
class Validator {
 public:
  // Returns UNIMPLEMENTED, naming field and rule, if `type` or a message in it declares a rule
  // that is not supported, and INVALID_ARGUMENT if a rule does not fit its field. `type` must
  // outlive the validator.
  static absl::StatusOr<Validator> Compile(const google::protobuf::Descriptor& type);

  // Returns every violation, in the order of the fields' declaration; nothing if `message` is
  // valid, and then without having allocated memory. `message` must be of the compiled type.
  std::vector<Violation> Validate(const google::protobuf::Message& message) const;
  // The same, for a caller who does not need all.
  void Validate(const google::protobuf::Message& message, ViolationSink& violations) const;

 private:
  class Plan;

  explicit Validator(std::shared_ptr<const Plan> plan);

  std::shared_ptr<const Plan> plan_;
};

}  // namespace energysites

#endif  // ENERGYSITES_VALIDATION_VALIDATOR_H_
