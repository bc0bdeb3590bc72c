// Which fields of a resource an Update request changes.
#ifndef ENERGYSITES_VALIDATION_UPDATE_MASK_H_
#define ENERGYSITES_VALIDATION_UPDATE_MASK_H_

#include <optional>
#include <string>
#include <vector>

#include "google/protobuf/message.h"
#include "validation/violation.h"

namespace energysites {

// The structure of an Update request: a google.protobuf.FieldMask `update_mask` and a message with
// `ignore: IGNORE_ALWAYS`, the resource.
struct UpdateShape {
  const google::protobuf::FieldDescriptor* mask;
  const google::protobuf::FieldDescriptor* resource;
  // The fields of the resource that callers may change: all except `etag` and fields with the
  // field_behavior OUTPUT_ONLY, IMMUTABLE or IDENTIFIER.
  std::vector<const google::protobuf::FieldDescriptor*> settable;
};

// Returns nothing if `type` is not an Update request.
std::optional<UpdateShape> UpdateShapeOf(const google::protobuf::Descriptor& type);

// Returns whether `request` changes `field` of its resource. Allocates no memory.
bool Updates(const UpdateShape& shape, const google::protobuf::Message& request,
             const google::protobuf::FieldDescriptor& field);

// Appends the violations of the mask of `request`: paths that are not settable fields, `*` together
// with other paths, no field to change. Reports at most 100 paths.
void CheckMask(const UpdateShape& shape, const google::protobuf::Message& request,
               std::vector<Violation>* violations);

// Returns the names of the fields that `update_request` changes, in the order of declaration: all
// settable fields for the mask `*`, the fields present in the resource for an empty mask, otherwise
// the fields in the mask. The request must be a valid Update request (see Validator::Validate).
std::vector<std::string> FieldsToUpdate(const google::protobuf::Message& update_request);

}  // namespace energysites

#endif  // ENERGYSITES_VALIDATION_UPDATE_MASK_H_
