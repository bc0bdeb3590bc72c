#include "validation/update_mask.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "buf/validate/validate.pb.h"
#include "google/api/field_behavior.pb.h"
#include "validation/value.h"

namespace energysites {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

// Bounds the size of the error: a path takes few bytes, its violation many.
constexpr size_t kMaxReportedPaths = 100;

bool IsSettable(const FieldDescriptor& field) {
  if (field.name() == "etag") return false;
  const auto& options = field.options();
  for (int i = 0; i < options.ExtensionSize(google::api::field_behavior); ++i) {
    switch (options.GetExtension(google::api::field_behavior, i)) {
      case google::api::OUTPUT_ONLY:
      case google::api::IMMUTABLE:
      case google::api::IDENTIFIER:
        return false;
      default:
        break;
    }
  }
  return true;
}

// The paths of a FieldMask.
class Paths {
 public:
  Paths(const UpdateShape& shape, const Message& request)
      : mask_(request.GetReflection()->GetMessage(request, shape.mask)),
        field_(mask_.GetDescriptor()->field(0)) {}

  int size() const { return mask_.GetReflection()->FieldSize(mask_, field_); }
  absl::string_view operator[](int i) const {
    return std::get<absl::string_view>(ReadElement(mask_, *field_, i));
  }
  bool Contains(absl::string_view path) const {
    for (int i = 0; i < size(); ++i) {
      if ((*this)[i] == path) return true;
    }
    return false;
  }

 private:
  const Message& mask_;
  const FieldDescriptor* field_;
};

bool HasResource(const UpdateShape& shape, const Message& request) {
  return request.GetReflection()->HasField(request, shape.resource);
}

bool IsPresent(const UpdateShape& shape, const Message& request, const FieldDescriptor& field) {
  const Message& resource = request.GetReflection()->GetMessage(request, shape.resource);
  const google::protobuf::Reflection& reflection = *resource.GetReflection();
  return field.is_repeated() ? reflection.FieldSize(resource, &field) > 0
                             : reflection.HasField(resource, &field);
}

std::string SettableNames(const UpdateShape& shape) {
  return absl::StrJoin(shape.settable, ", ", [](std::string* out, const FieldDescriptor* field) {
    absl::StrAppend(out, field->name());
  });
}

}  // namespace

std::optional<UpdateShape> UpdateShapeOf(const Descriptor& type) {
  UpdateShape shape = {};
  for (int i = 0; i < type.field_count(); ++i) {
    const FieldDescriptor& field = *type.field(i);
    if (field.is_repeated() || field.message_type() == nullptr) continue;
    if (field.name() == "update_mask" &&
        field.message_type()->full_name() == "google.protobuf.FieldMask") {
      shape.mask = &field;
    } else if (field.options().GetExtension(buf::validate::field).ignore() ==
               buf::validate::IGNORE_ALWAYS) {
      shape.resource = &field;
    }
  }
  if (shape.mask == nullptr || shape.resource == nullptr) return std::nullopt;
  const Descriptor& resource = *shape.resource->message_type();
  for (int i = 0; i < resource.field_count(); ++i) {
    if (IsSettable(*resource.field(i))) shape.settable.push_back(resource.field(i));
  }
  return shape;
}

bool Updates(const UpdateShape& shape, const Message& request, const FieldDescriptor& field) {
  if (std::find(shape.settable.begin(), shape.settable.end(), &field) == shape.settable.end()) {
    return false;
  }
  const Paths paths(shape, request);
  if (paths.size() == 0) return IsPresent(shape, request, field);
  return (paths.size() == 1 && paths[0] == "*") || paths.Contains(field.name());
}

void CheckMask(const UpdateShape& shape, const Message& request,
               std::vector<Violation>* violations) {
  const Paths paths(shape, request);
  if (paths.size() == 0) {
    const bool changes_nothing = std::none_of(
        shape.settable.begin(), shape.settable.end(),
        [&](const FieldDescriptor* field) { return IsPresent(shape, request, *field); });
    if (changes_nothing && HasResource(shape, request)) {
      violations->push_back(
          {shape.mask->name(), "field_mask.not_empty",
           absl::StrCat("must name a field, or ", shape.resource->name(), " must have one of ",
                        SettableNames(shape), " (is a name misspelt?)")});
    }
    return;
  }
  if (paths.size() == 1 && paths[0] == "*") return;
  size_t named = 0;
  for (int i = 0; i < paths.size() && named < kMaxReportedPaths; ++i) {
    const absl::string_view path = paths[i];
    const bool is_settable =
        std::any_of(shape.settable.begin(), shape.settable.end(),
                    [&](const FieldDescriptor* field) { return field->name() == path; });
    if (is_settable) continue;
    violations->push_back({shape.mask->name(), "field_mask.settable",
                           absl::StrCat("must name fields among ", SettableNames(shape),
                                        ", or be * alone, got ", ToText(path))});
    ++named;
  }
}

std::vector<std::string> FieldsToUpdate(const Message& update_request) {
  const std::optional<UpdateShape> shape = UpdateShapeOf(*update_request.GetDescriptor());
  std::vector<std::string> names;
  for (const FieldDescriptor* field : shape->settable) {
    if (Updates(*shape, update_request, *field)) names.push_back(field->name());
  }
  return names;
}

}  // namespace energysites
