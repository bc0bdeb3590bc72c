// Which fields of a resource an Update request changes.
#ifndef ENERGYSITES_VALIDATION_UPDATE_MASK_H_
#define ENERGYSITES_VALIDATION_UPDATE_MASK_H_

#include <optional>
#include <string>
#include <vector>

namespace google::protobuf {
class Descriptor;
class FieldDescriptor;
class Message;
}  // namespace google::protobuf

namespace energysites {

// What makes a message type an Update request: a google.protobuf.FieldMask `update_mask` and a
// message with `ignore: IGNORE_ALWAYS`, the resource.
struct UpdateShape {
  const google::protobuf::FieldDescriptor* mask;
  const google::protobuf::FieldDescriptor* resource;
  // The resource's fields that callers may change: all but `etag` and those with field_behavior
  // OUTPUT_ONLY or IMMUTABLE.
  std::vector<const google::protobuf::FieldDescriptor*> settable;
};

// Returns nothing if `type` is not an Update request.
std::optional<UpdateShape> UpdateShapeOf(const google::protobuf::Descriptor& type);

// Returns the names of the fields that `update_request` changes, in the order of their
// declaration: all settable ones for the mask `*`, those present in the resource for an empty
// mask, else those named. The request must have passed Validator::Validate.
std::vector<std::string> FieldsToUpdate(const google::protobuf::Message& update_request);

}  // namespace energysites

#endif  // ENERGYSITES_VALIDATION_UPDATE_MASK_H_
