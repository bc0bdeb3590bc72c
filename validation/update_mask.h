// Which fields of a resource an Update request changes.
#ifndef ENERGYSITES_VALIDATION_UPDATE_MASK_H_
#define ENERGYSITES_VALIDATION_UPDATE_MASK_H_

#include <optional>
#include <string>
#include <vector>

#include "google/protobuf/message.h"
#include "validation/violation.h"

namespace energysites {

// What makes a message type an Update request: a google.protobuf.FieldMask `update_mask` and a
// message with `ignore: IGNORE_ALWAYS`, the resource.
struct UpdateShape {
  const google::protobuf::FieldDescriptor* mask;
  const google::protobuf::FieldDescriptor* resource;
  // The resource's fields that callers may change: all but `etag` and those with field_behavior
  // OUTPUT_ONLY, IMMUTABLE or IDENTIFIER.
  std::vector<const google::protobuf::FieldDescriptor*> settable;
};

// Returns nothing if `type` is not an Update request.
std::optional<UpdateShape> UpdateShapeOf(const google::protobuf::Descriptor& type);

// Returns whether `request` changes `field` of its resource. Allocates no memory.
bool Updates(const UpdateShape& shape, const google::protobuf::Message& request,
             const google::protobuf::FieldDescriptor& field);

// Appends what is wrong with the mask of `request`: paths that are not settable fields, `*` that
// does not stand alone, nothing to change. Names at most 100 paths.
void CheckMask(const UpdateShape& shape, const google::protobuf::Message& request,
               std::vector<Violation>* violations);

// Returns the names of the fields that `update_request` changes, in the order of their
// declaration: all settable ones for the mask `*`, those present in the resource for an empty
// mask, else those named. The request must be an Update request that passed Validator::Validate.
std::vector<std::string> FieldsToUpdate(const google::protobuf::Message& update_request);

}  // namespace energysites

#endif  // ENERGYSITES_VALIDATION_UPDATE_MASK_H_
