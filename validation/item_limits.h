// Finds oversized lists in a serialized message before it is parsed.
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

// The `max_items` rules of a message type and of its nested messages. An empty message takes two
// bytes when serialized and about a hundred as an object. The validator works on parsed messages
// and is therefore too late to bound the memory for a list of millions of elements.
//
// Immutable, cheap to copy, thread-safe.
class ItemLimits {
 public:
  // Returns the errors that Validator::Compile returns for the rules of a list. Only the validator
  // checks lists in the elements of lists and in recursive messages.
  static absl::StatusOr<ItemLimits> Compile(const google::protobuf::Descriptor& type);

  // Adds the validator's violations for each list with more elements than its `max_items`. Reads
  // `bytes` to the end or to the first encoding error, and creates no messages. Also counts
  // elements that a parser creates and then drops, such as those of a replaced oneof member.
  void FindOversizedLists(google::protobuf::io::ZeroCopyInputStream* bytes,
                          ViolationSink& violations) const;

 private:
  class Plan;

  explicit ItemLimits(std::shared_ptr<const Plan> plan);

  std::shared_ptr<const Plan> plan_;
};

}  // namespace energysites

#endif  // ENERGYSITES_VALIDATION_ITEM_LIMITS_H_
