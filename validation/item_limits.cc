#include "validation/item_limits.h"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "buf/validate/validate.pb.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/io/coded_stream.h"
#include "google/protobuf/wire_format.h"
#include "google/protobuf/wire_format_lite.h"
#include "validation/rules.h"

namespace energysites {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::internal::WireFormat;
using google::protobuf::internal::WireFormatLite;
using google::protobuf::io::CodedInputStream;

// A list with a `max_items` rule.
struct List {
  std::string path;
  uint64_t max_items;
  std::vector<Check> checks;  // For its length.
};

struct Message;

// A field to inspect: a list with a limit, or a message that contains one.
struct Field {
  int number;
  WireFormatLite::WireType wire_type;  // Of one element.
  bool may_be_packed = false;
  size_t list = 0;  // Index in the lists of the plan.
  std::unique_ptr<const Message> message;
};

struct Message {
  std::vector<Field> fields;

  const Field* Find(int number) const {
    const auto field = std::find_if(fields.begin(), fields.end(), [number](const Field& candidate) {
      return candidate.number == number;
    });
    return field == fields.end() ? nullptr : &*field;
  }
};

using Counts = std::vector<uint64_t>;  // One for each list of the plan.

// Adds the number of elements in `size` bytes of a packed field. The last byte of every varint, and
// no other, has its continuation bit clear.
bool CountPacked(WireFormatLite::WireType wire_type, int size, CodedInputStream* input,
                 uint64_t* count) {
  if (wire_type != WireFormatLite::WIRETYPE_VARINT) {
    *count += size / (wire_type == WireFormatLite::WIRETYPE_FIXED32 ? 4 : 8);
    return input->Skip(size);
  }
  while (size > 0) {
    const void* data;
    int available;
    if (!input->GetDirectBufferPointer(&data, &available)) return false;
    available = std::min(available, size);
    const auto* bytes = static_cast<const uint8_t*>(data);
    *count += std::count_if(bytes, bytes + available, [](uint8_t byte) { return byte < 0x80; });
    if (!input->Skip(available)) return false;
    size -= available;
  }
  return true;
}

// Counts the elements in the message that ends at `end`. Returns false at an encoding error.
//
// Accepts a length that exceeds the enclosing message: the parser detects this only after it has
// created the objects. A field that occurs more than once is merged, so its counts are added.
bool Count(const Message& message, int64_t end, CodedInputStream* input, Counts* counts) {
  while (input->CurrentPosition() < end) {
    const uint32_t tag = input->ReadTag();
    if (tag == 0) return false;
    const Field* field = message.Find(WireFormatLite::GetTagFieldNumber(tag));
    const WireFormatLite::WireType wire_type = WireFormatLite::GetTagWireType(tag);
    const bool is_packed = field != nullptr && field->may_be_packed &&
                           wire_type == WireFormatLite::WIRETYPE_LENGTH_DELIMITED;
    // An unknown field, or one with another wire type.
    if (field == nullptr || (wire_type != field->wire_type && !is_packed)) {
      if (!WireFormatLite::SkipField(input, tag)) return false;
      continue;
    }
    if (!is_packed && field->message == nullptr) {
      ++(*counts)[field->list];
      if (!WireFormatLite::SkipField(input, tag)) return false;
      continue;
    }
    int size;
    if (!input->ReadVarintSizeAsInt(&size)) return false;
    const bool is_valid =
        is_packed ? CountPacked(field->wire_type, size, input, &(*counts)[field->list])
                  : Count(*field->message, int64_t{input->CurrentPosition()} + size, input, counts);
    if (!is_valid) return false;
  }
  return input->CurrentPosition() == end;
}

}  // namespace

// Its depth is that of the message type, which bounds the recursion of Count for any input.
class ItemLimits::Plan {
 public:
  absl::Status Compile(const Descriptor& type) {
    auto root = CompileMessage(type, "");
    if (!root.ok()) return root.status();
    root_ = *std::move(root);
    return absl::OkStatus();
  }

  void Run(google::protobuf::io::ZeroCopyInputStream* bytes, ViolationSink& violations) const {
    if (lists_.empty()) return;
    Counts counts(lists_.size());
    CodedInputStream input(bytes);
    Count(root_, std::numeric_limits<int64_t>::max(), &input, &counts);
    for (size_t i = 0; i < lists_.size(); ++i) {
      if (counts[i] > lists_[i].max_items) AddViolations(lists_[i], counts[i], violations);
    }
  }

 private:
  static void AddViolations(const List& list, uint64_t length, ViolationSink& violations) {
    for (const Check& check : list.checks) {
      if (check.passes(length) || !violations.Accepts("", -1, check.rule_id)) continue;
      violations.Add({list.path, check.rule_id, Describe(check, length)});
    }
  }

  absl::StatusOr<Message> CompileMessage(const Descriptor& type, const std::string& prefix) {
    Message message;
    open_.push_back(&type);
    for (int i = 0; i < type.field_count(); ++i) {
      const absl::Status status = CompileField(*type.field(i), prefix, &message);
      if (!status.ok()) return status;
    }
    open_.pop_back();
    return message;
  }

  absl::Status CompileField(const FieldDescriptor& field, const std::string& prefix,
                            Message* message) {
    const buf::validate::FieldRules& rules = RulesOf(field);
    if (rules.ignore() == buf::validate::IGNORE_ALWAYS) return absl::OkStatus();
    Field plan;
    plan.number = field.number();
    plan.wire_type = WireFormat::WireTypeForFieldType(field.type());
    const std::string path = absl::StrCat(prefix, field.name());
    if (field.is_repeated()) {
      if (!rules.repeated().has_max_items()) return absl::OkStatus();
      auto checks = CompileRules("repeated", rules.repeated());
      if (!checks.ok()) return checks.status();
      plan.may_be_packed = field.is_packable();
      plan.list = lists_.size();
      lists_.push_back({path, rules.repeated().max_items(), *std::move(checks)});
    } else {
      const Descriptor* type = field.message_type();
      if (type == nullptr || field.type() == FieldDescriptor::TYPE_GROUP) return absl::OkStatus();
      if (std::find(open_.begin(), open_.end(), type) != open_.end()) return absl::OkStatus();
      auto nested = CompileMessage(*type, absl::StrCat(path, "."));
      if (!nested.ok()) return nested.status();
      if (nested->fields.empty()) return absl::OkStatus();
      plan.message = std::make_unique<const Message>(*std::move(nested));
    }
    message->fields.push_back(std::move(plan));
    return absl::OkStatus();
  }

  std::vector<List> lists_;
  Message root_;
  std::vector<const Descriptor*> open_;  // Being compiled, each nested in the previous one.
};

absl::StatusOr<ItemLimits> ItemLimits::Compile(const Descriptor& type) {
  auto plan = std::make_shared<Plan>();
  const absl::Status status = plan->Compile(type);
  if (!status.ok()) return status;
  return ItemLimits(std::move(plan));
}

ItemLimits::ItemLimits(std::shared_ptr<const Plan> plan) : plan_(std::move(plan)) {}

void ItemLimits::FindOversizedLists(google::protobuf::io::ZeroCopyInputStream* bytes,
                                    ViolationSink& violations) const {
  plan_->Run(bytes, violations);
}

}  // namespace energysites
