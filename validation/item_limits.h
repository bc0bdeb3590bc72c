// Looks for lists that are too long in the bytes of a message, before they become objects.
#ifndef ENERGYSITES_VALIDATION_ITEM_LIMITS_H_
#define ENERGYSITES_VALIDATION_ITEM_LIMITS_H_

#include <memory>

#include "absl/status/statusor.h"
#include "validation/violation.h"

namespace google::protobuf {
class Descriptor;
namespace io {
class ZeroCopyInputStream;
}
}  // namespace google::protobuf

namespace energysites {

// The `max_items` of a message type and of the messages in it. An empty message takes two bytes on
// the wire and a hundred as an object, so that the validator, which needs objects, is too late for
// a list of millions.
//
// Immutable, cheap to copy, safe to use from any thread.
class ItemLimits {
 public:
  // Fails where Validator::Compile does because of a list's rules. Lists in the elements of lists,
  // and in a message within itself, are left to the validator.
  static absl::StatusOr<ItemLimits> Compile(const google::protobuf::Descriptor& type);

  // Tells, of each list with more elements than its `max_items`, what the validator says of its
  // length. Reads `bytes` up to the end or to where no parser would go on, and makes no objects of
  // them. Where a parser drops elements that it has read, as of the other one of a oneof, they
  // count nevertheless: they take the memory.
  void TooLong(google::protobuf::io::ZeroCopyInputStream* bytes, ViolationSink& violations) const;

 private:
  class Plan;

  explicit ItemLimits(std::shared_ptr<const Plan> plan);

  std::shared_ptr<const Plan> plan_;
};

}  // namespace energysites

#endif  // ENERGYSITES_VALIDATION_ITEM_LIMITS_H_
