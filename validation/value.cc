#include "validation/value.h"

#include <algorithm>
#include <charconv>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"

namespace energysites {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

// Longer strings are not included in error texts.
constexpr uint64_t kMaxQuotedCharacters = 40;

Instant ToInstant(const Message& timestamp) {
  const Reflection& reflection = *timestamp.GetReflection();
  const google::protobuf::Descriptor& type = *timestamp.GetDescriptor();
  return {reflection.GetInt64(timestamp, type.field(0)),
          reflection.GetInt32(timestamp, type.field(1))};
}

// A required argument of Reflection, used only for strings not stored as std::string; there are
// none.
std::string* Scratch() {
  static thread_local std::string scratch;
  return &scratch;
}

std::string NumberToText(double number) {
  char buffer[32];
  const std::to_chars_result result = std::to_chars(buffer, buffer + sizeof(buffer), number);
  return std::string(buffer, result.ptr);
}

std::string InstantToText(const Instant& instant) {
  if (instant.nanos < 0 || instant.nanos > 999'999'999) {
    return absl::StrCat("nanos ", instant.nanos);
  }
  const absl::Time time = absl::FromUnixSeconds(instant.seconds) + absl::Nanoseconds(instant.nanos);
  return absl::FormatTime("%E4Y-%m-%dT%H:%M:%E*SZ", time, absl::UTCTimeZone());
}

std::string QuotedText(absl::string_view text) {
  const uint64_t characters = CharacterCount(text);
  if (characters > kMaxQuotedCharacters) return absl::StrCat(characters, " characters");
  return absl::StrCat("\"", absl::Utf8SafeCHexEscape(text), "\"");
}

}  // namespace

bool IsTimestamp(const FieldDescriptor& field) {
  return field.message_type() != nullptr &&
         field.message_type()->full_name() == "google.protobuf.Timestamp";
}

Value ReadField(const Message& message, const FieldDescriptor& field) {
  const Reflection& reflection = *message.GetReflection();
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT32:
      return int64_t{reflection.GetInt32(message, &field)};
    case FieldDescriptor::CPPTYPE_INT64:
      return int64_t{reflection.GetInt64(message, &field)};
    case FieldDescriptor::CPPTYPE_UINT32:
      return uint64_t{reflection.GetUInt32(message, &field)};
    case FieldDescriptor::CPPTYPE_UINT64:
      return uint64_t{reflection.GetUInt64(message, &field)};
    case FieldDescriptor::CPPTYPE_FLOAT:
      return double{reflection.GetFloat(message, &field)};
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return reflection.GetDouble(message, &field);
    case FieldDescriptor::CPPTYPE_STRING:
      return absl::string_view(reflection.GetStringReference(message, &field, Scratch()));
    case FieldDescriptor::CPPTYPE_MESSAGE:
      if (IsTimestamp(field)) return ToInstant(reflection.GetMessage(message, &field));
      return {};
    default:
      return {};
  }
}

Value ReadElement(const Message& message, const FieldDescriptor& field, int index) {
  const Reflection& reflection = *message.GetReflection();
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT32:
      return int64_t{reflection.GetRepeatedInt32(message, &field, index)};
    case FieldDescriptor::CPPTYPE_INT64:
      return int64_t{reflection.GetRepeatedInt64(message, &field, index)};
    case FieldDescriptor::CPPTYPE_UINT32:
      return uint64_t{reflection.GetRepeatedUInt32(message, &field, index)};
    case FieldDescriptor::CPPTYPE_UINT64:
      return uint64_t{reflection.GetRepeatedUInt64(message, &field, index)};
    case FieldDescriptor::CPPTYPE_FLOAT:
      return double{reflection.GetRepeatedFloat(message, &field, index)};
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return reflection.GetRepeatedDouble(message, &field, index);
    case FieldDescriptor::CPPTYPE_STRING:
      return absl::string_view(
          reflection.GetRepeatedStringReference(message, &field, index, Scratch()));
    case FieldDescriptor::CPPTYPE_MESSAGE:
      if (IsTimestamp(field)) {
        return ToInstant(reflection.GetRepeatedMessage(message, &field, index));
      }
      return {};
    default:
      return {};
  }
}

bool IsZero(const Value& value) {
  struct {
    bool operator()(std::monostate) const { return false; }
    bool operator()(int64_t number) const { return number == 0; }
    bool operator()(uint64_t number) const { return number == 0; }
    bool operator()(double number) const { return number == 0; }
    bool operator()(absl::string_view text) const { return text.empty(); }
    bool operator()(const Instant&) const { return false; }  // A message has no zero value.
  } is_zero;
  return std::visit(is_zero, value);
}

uint64_t CharacterCount(absl::string_view text) {
  // Every byte but a continuation byte (10xxxxxx) begins a character.
  return std::count_if(text.begin(), text.end(),
                       [](unsigned char byte) { return (byte & 0xC0) != 0x80; });
}

std::string ToText(const Value& value) {
  struct {
    std::string operator()(std::monostate) const { return "a value"; }
    std::string operator()(int64_t number) const { return absl::StrCat(number); }
    std::string operator()(uint64_t number) const { return absl::StrCat(number); }
    std::string operator()(double number) const { return NumberToText(number); }
    std::string operator()(absl::string_view text) const { return QuotedText(text); }
    std::string operator()(const Instant& instant) const { return InstantToText(instant); }
  } to_text;
  return std::visit(to_text, value);
}

}  // namespace energysites
