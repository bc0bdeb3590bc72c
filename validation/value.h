// The values of fields that rules check, independent of their protobuf types.
#ifndef ENERGYSITES_VALIDATION_VALUE_H_
#define ENERGYSITES_VALIDATION_VALUE_H_

#include <cstdint>
#include <string>
#include <variant>

#include "absl/numeric/int128.h"
#include "absl/strings/string_view.h"
#include "google/protobuf/message.h"

namespace energysites {

// A google.protobuf.Timestamp, which may be out of range.
struct Instant {
  int64_t seconds;
  int32_t nanos;

  // Nanos out of range are added to the seconds, as in protovalidate.
  absl::int128 Nanoseconds() const { return absl::int128(seconds) * 1'000'000'000 + nanos; }

  bool operator==(const Instant& other) const { return Nanoseconds() == other.Nanoseconds(); }
  bool operator<(const Instant& other) const { return Nanoseconds() < other.Nanoseconds(); }
  bool operator>(const Instant& other) const { return Nanoseconds() > other.Nanoseconds(); }
  bool operator<=(const Instant& other) const { return Nanoseconds() <= other.Nanoseconds(); }
  bool operator>=(const Instant& other) const { return Nanoseconds() >= other.Nanoseconds(); }
};

// Every protobuf number converts without loss to one of the three number types. All values of a
// field have the same alternative. The length of a list is a uint64_t. Types without rules (bool,
// bytes, enum, other messages) are std::monostate.
using Value = std::variant<std::monostate, int64_t, uint64_t, double, absl::string_view, Instant>;

// Returns the value of `field`, which is not repeated. A string is valid as long as `message`.
Value ReadField(const google::protobuf::Message& message,
                const google::protobuf::FieldDescriptor& field);

// Returns the element at `index` of `field`, which is repeated.
Value ReadElement(const google::protobuf::Message& message,
                  const google::protobuf::FieldDescriptor& field, int index);

// Returns whether `field` is a google.protobuf.Timestamp.
bool IsTimestamp(const google::protobuf::FieldDescriptor& field);

// Returns whether `value` is 0 or an empty string.
bool IsZero(const Value& value);

// Returns the number of characters (code points) of a UTF-8 string.
uint64_t CharacterCount(absl::string_view text);

// Returns `value` for an error text: a number in its shortest exact form, a short string quoted and
// escaped, and the length of a long string.
std::string ToText(const Value& value);

}  // namespace energysites

#endif  // ENERGYSITES_VALIDATION_VALUE_H_
