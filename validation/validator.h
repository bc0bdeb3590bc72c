// Checks messages against the buf.validate rules in the .proto files.
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

// Validates messages of one type. Immutable, cheap to copy, thread-safe.
//
// Results, paths and rule ids are those of protovalidate, with four differences:
// - Every google.protobuf.Timestamp must have nanos from 0 to 999,999,999 (`timestamp.valid`).
// - In an Update request (see update_mask.h) the resource's rules apply to the fields to update,
//   and the mask itself is checked (`field_mask.settable`, `field_mask.not_empty`).
// - A google.protobuf.FieldMask must have at most 1,000 paths (`repeated.max_items`).
// - The elements of a list longer than its `max_items` are not checked. This bounds the memory for
//   violations.
class Validator {
 public:
  // Returns UNIMPLEMENTED with the names of the field and the rule if `type` or a nested message
  // declares a rule that is not supported, and INVALID_ARGUMENT if a rule does not match the type
  // of its field. `type` must outlive the validator.
  static absl::StatusOr<Validator> Compile(const google::protobuf::Descriptor& type);

  // Returns all violations, in the order in which the fields are declared; empty if `message` is
  // valid. Allocates no memory for a valid message. `message` must be of the compiled type.
  std::vector<Violation> Validate(const google::protobuf::Message& message) const;
  // As above, but `violations` decides which violations to keep.
  void Validate(const google::protobuf::Message& message, ViolationSink& violations) const;

 private:
  class Plan;

  explicit Validator(std::shared_ptr<const Plan> plan);

  std::shared_ptr<const Plan> plan_;
};

}  // namespace energysites

#endif  // ENERGYSITES_VALIDATION_VALIDATOR_H_
