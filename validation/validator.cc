#include "validation/validator.h"

#include <limits>
#include <optional>
#include <string>
#include <unordered_map>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "buf/validate/validate.pb.h"
#include "google/protobuf/message.h"
#include "validation/rules.h"
#include "validation/update_mask.h"
#include "validation/value.h"

namespace energysites {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

// The path from the validated message to a field. Allocated on the stack, and converted to text
// only for a violation.
struct Path {
  const Path* parent;
  const FieldDescriptor* field;
  int index;  // -1 for the field itself
};

std::string ToText(const Path& path) {
  std::string text = path.parent ? absl::StrCat(ToText(*path.parent), ".") : "";
  absl::StrAppend(&text, path.field->name());
  if (path.index >= 0) absl::StrAppend(&text, "[", path.index, "]");
  return text;
}

bool Accepts(ViolationSink& violations, const Path& path, const std::string& rule_id) {
  const Path* element = nullptr;
  for (const Path* place = &path; place != nullptr; place = place->parent) {
    if (place->index >= 0) element = place;
  }
  if (element == nullptr) return violations.Accepts("", -1, rule_id);
  return violations.Accepts(element->field->name(), element->index, rule_id);
}

void AddRequired(const Path& path, ViolationSink& violations) {
  static const std::string* const kRequired = new std::string("required");
  if (!Accepts(violations, path, *kRequired)) return;
  violations.Add({ToText(path), *kRequired, "must be set"});
}

void RunChecks(const std::vector<Check>& checks, const Value& value, const Path& path,
               ViolationSink& violations) {
  for (const Check& check : checks) {
    if (check.passes(value) || !Accepts(violations, path, check.rule_id)) continue;
    violations.Add({ToText(path), check.rule_id, Describe(check, value)});
  }
}

struct MessagePlan;

// The checks of one field. For a list, `checks` apply to its length.
struct FieldPlan {
  const FieldDescriptor* field = nullptr;
  bool is_required = false;
  bool skips_unset = false;
  bool skips_zero_elements = false;
  uint64_t max_items = std::numeric_limits<uint64_t>::max();
  std::vector<Check> checks;
  std::vector<Check> element_checks;
  const MessagePlan* nested = nullptr;

  bool IsEmpty() const {
    return !is_required && checks.empty() && element_checks.empty() && nested == nullptr;
  }
  void Run(const Message& message, const Path* parent, ViolationSink& violations) const;
  void RunOnList(const Message& message, const Path* parent, ViolationSink& violations) const;
};

struct MessagePlan {
  std::vector<FieldPlan> fields;
  bool is_complete = false;  // False while the message type is being compiled.

  void Run(const Message& message, const Path* parent, ViolationSink& violations) const {
    for (const FieldPlan& field : fields) field.Run(message, parent, violations);
  }
};

void FieldPlan::Run(const Message& message, const Path* parent, ViolationSink& violations) const {
  const Reflection& reflection = *message.GetReflection();
  const Path path = {parent, field, -1};
  const bool is_unset = (is_required || skips_unset) &&
                        (field->is_repeated() ? reflection.FieldSize(message, field) == 0
                                              : !reflection.HasField(message, field));
  if (is_unset && is_required) {
    AddRequired(path, violations);
    return;
  }
  if (is_unset) return;
  if (field->is_repeated()) return RunOnList(message, parent, violations);
  if (!checks.empty()) RunChecks(checks, ReadField(message, *field), path, violations);
  if (nested != nullptr) nested->Run(reflection.GetMessage(message, field), &path, violations);
}

void FieldPlan::RunOnList(const Message& message, const Path* parent,
                          ViolationSink& violations) const {
  const Reflection& reflection = *message.GetReflection();
  const int size = reflection.FieldSize(message, field);
  const auto length = static_cast<uint64_t>(size);
  RunChecks(checks, length, {parent, field, -1}, violations);
  if (length > max_items || (element_checks.empty() && nested == nullptr)) return;
  for (int i = 0; i < size; ++i) {
    const Path path = {parent, field, i};
    if (!element_checks.empty()) {
      const Value element = ReadElement(message, *field, i);
      if (skips_zero_elements && IsZero(element)) continue;
      RunChecks(element_checks, element, path, violations);
    }
    if (nested != nullptr) {
      nested->Run(reflection.GetRepeatedMessage(message, field, i), &path, violations);
    }
  }
}

// The field of buf.validate.FieldRules that has the rules for values of `field`.
std::string RuleKindOf(const FieldDescriptor& field) {
  return IsTimestamp(field) ? "timestamp" : field.type_name();
}

absl::Status At(absl::string_view name, const absl::Status& status) {
  return absl::Status(status.code(), absl::StrCat(name, ": ", status.message()));
}

absl::Status Unsupported(absl::string_view rule) {
  return absl::UnimplementedError(absl::StrCat("rule ", rule, " is not supported"));
}

// Returns UNIMPLEMENTED if any rule is set in `rules`; rules of `kind` are not supported.
absl::Status RejectAll(absl::string_view kind, const Message& rules) {
  std::vector<const FieldDescriptor*> set_rules;
  rules.GetReflection()->ListFields(rules, &set_rules);
  if (!set_rules.empty()) return Unsupported(absl::StrCat(kind, ".", set_rules[0]->name()));
  if (!rules.GetReflection()->GetUnknownFields(rules).empty()) return Unsupported(kind);
  return absl::OkStatus();
}

// Compiles the rules for values of `kind`, except `required` and `ignore`.
absl::StatusOr<std::vector<Check>> CompileTypeRules(const std::string& kind,
                                                    const buf::validate::FieldRules& rules) {
  std::vector<const FieldDescriptor*> set_rules;
  rules.GetReflection()->ListFields(rules, &set_rules);
  std::vector<Check> checks;
  for (const FieldDescriptor* rule : set_rules) {
    if (rule->name() == "required" || rule->name() == "ignore") continue;
    if (rule->containing_oneof() == nullptr) return Unsupported(rule->name());
    auto compiled = CompileRules(rule->name(), rules.GetReflection()->GetMessage(rules, rule));
    if (!compiled.ok()) return compiled.status();
    if (rule->name() != kind) {
      return absl::InvalidArgumentError(
          absl::StrCat(rule->name(), " rules do not fit a field of type ", kind));
    }
    checks = *std::move(compiled);
  }
  if (!rules.unknown_fields().empty()) {
    return Unsupported(absl::StrCat("#", rules.unknown_fields().field(0).number()));
  }
  return checks;
}

}  // namespace

// The checks of a message type and of all nested types.
class Validator::Plan {
 public:
  static absl::StatusOr<std::shared_ptr<const Plan>> Compile(const Descriptor& type) {
    auto plan = std::make_shared<Plan>();
    plan->update_ = UpdateShapeOf(type);
    auto root = plan->CompileMessage(type);
    if (!root.ok()) return root.status();
    plan->root_ = *root;
    if (plan->update_) {
      auto resource = plan->CompileMessage(*plan->update_->resource->message_type());
      if (!resource.ok()) return resource.status();
      plan->resource_ = *resource;
    }
    return plan;
  }

  void Run(const Message& message, ViolationSink& violations) const {
    root_->Run(message, nullptr, violations);
    if (update_) RunUpdate(message, violations);
  }

 private:
  void RunUpdate(const Message& request, ViolationSink& violations) const {
    std::vector<Violation> of_mask;
    CheckMask(*update_, request, &of_mask);
    for (Violation& violation : of_mask) {
      if (violations.Accepts("", -1, violation.rule_id)) violations.Add(std::move(violation));
    }
    const Path path = {nullptr, update_->resource, -1};
    if (!request.GetReflection()->HasField(request, update_->resource)) {
      AddRequired(path, violations);
      return;
    }
    const Message& resource = request.GetReflection()->GetMessage(request, update_->resource);
    for (const FieldPlan& field : resource_->fields) {
      if (Updates(*update_, request, *field.field)) field.Run(resource, &path, violations);
    }
  }

  absl::StatusOr<const MessagePlan*> CompileMessage(const Descriptor& type) {
    const auto [slot, is_new] = messages_.try_emplace(&type);
    MessagePlan& plan = slot->second;
    if (!is_new) return &plan;
    const absl::Status status =
        RejectAll("message", type.options().GetExtension(buf::validate::message));
    if (!status.ok()) return At(type.full_name(), status);
    for (int i = 0; i < type.oneof_decl_count(); ++i) {
      const auto& oneof = *type.oneof_decl(i);
      const absl::Status status =
          RejectAll("oneof", oneof.options().GetExtension(buf::validate::oneof));
      if (!status.ok()) return At(oneof.full_name(), status);
    }
    for (int i = 0; i < type.field_count(); ++i) {
      auto field = CompileField(*type.field(i));
      if (!field.ok()) return field.status();
      if (!field->IsEmpty()) plan.fields.push_back(*std::move(field));
    }
    plan.is_complete = true;
    return &plan;
  }

  absl::StatusOr<FieldPlan> CompileField(const FieldDescriptor& field) {
    const buf::validate::FieldRules& rules = RulesOf(field);
    FieldPlan plan;
    plan.field = &field;
    if (rules.ignore() == buf::validate::IGNORE_ALWAYS) return plan;
    plan.is_required = rules.required();
    plan.skips_unset =
        field.has_presence() || rules.ignore() == buf::validate::IGNORE_IF_ZERO_VALUE;
    const std::string kind = field.is_map()        ? "map"
                             : field.is_repeated() ? "repeated"
                                                   : RuleKindOf(field);
    auto checks = CompileTypeRules(kind, rules);
    if (!checks.ok()) return At(field.full_name(), checks.status());
    plan.checks = *std::move(checks);
    const absl::Status status =
        field.is_repeated() ? CompileList(rules.repeated(), &plan) : CompileNested(&plan);
    if (!status.ok()) return status;
    if (IsTimestamp(field)) {
      (field.is_repeated() ? plan.element_checks : plan.checks).push_back(TimestampValid());
    }
    return plan;
  }

  absl::Status CompileList(const buf::validate::RepeatedRules& rules, FieldPlan* plan) {
    if (rules.has_max_items()) plan->max_items = rules.max_items();
    if (rules.items().ignore() == buf::validate::IGNORE_ALWAYS) return absl::OkStatus();
    // An element is always set; the rule has no meaning in protovalidate either.
    if (rules.items().required()) {
      return At(plan->field->full_name(), Unsupported("repeated.items.required"));
    }
    plan->skips_zero_elements = rules.items().ignore() == buf::validate::IGNORE_IF_ZERO_VALUE;
    auto checks = CompileTypeRules(RuleKindOf(*plan->field), rules.items());
    if (!checks.ok()) return At(plan->field->full_name(), checks.status());
    plan->element_checks = *std::move(checks);
    return CompileNested(plan);
  }

  // Compiles the message type of the field, if it has one.
  absl::Status CompileNested(FieldPlan* plan) {
    const Descriptor* type = plan->field->message_type();
    if (type == nullptr) return absl::OkStatus();
    auto nested = CompileMessage(*type);
    if (!nested.ok()) return nested.status();
    const bool is_empty = (*nested)->is_complete && (*nested)->fields.empty();
    if (is_empty) return absl::OkStatus();
    if (plan->field->is_map()) {
      return At(plan->field->full_name(), Unsupported("on the message values of a map"));
    }
    plan->nested = *nested;
    return absl::OkStatus();
  }

  std::unordered_map<const Descriptor*, MessagePlan> messages_;
  const MessagePlan* root_ = nullptr;
  std::optional<UpdateShape> update_;
  const MessagePlan* resource_ = nullptr;  // The resource of an Update request.
};

absl::StatusOr<Validator> Validator::Compile(const Descriptor& type) {
  auto plan = Plan::Compile(type);
  if (!plan.ok()) return plan.status();
  return Validator(*std::move(plan));
}

Validator::Validator(std::shared_ptr<const Plan> plan) : plan_(std::move(plan)) {}

std::vector<Violation> Validator::Validate(const Message& message) const {
  ViolationList violations;
  Validate(message, violations);
  return violations.TakeAll();
}

void Validator::Validate(const Message& message, ViolationSink& violations) const {
  plan_->Run(message, violations);
}

}  // namespace energysites
