// What rules look at: the values of fields, whatever their width on the wire.
#ifndef ENERGYSITES_VALIDATION_VALUE_H_
#define ENERGYSITES_VALIDATION_VALUE_H_

#include <cstdint>
#include <string>
#include <variant>

#include "absl/numeric/int128.h"
#include "absl/strings/string_view.h"
#include "google/protobuf/message.h"

namespace energysites {

// A google.protobuf.Timestamp, as sent.
struct Instant {
  int64_t seconds;
  int32_t nanos;

  // Nanos out of range carry into the seconds, as in protovalidate.
  absl::int128 Nanoseconds() const { return absl::int128(seconds) * 1'000'000'000 + nanos; }

  bool operator==(const Instant& other) const { return Nanoseconds() == other.Nanoseconds(); }
  bool operator<(const Instant& other) const { return Nanoseconds() < other.Nanoseconds(); }
  bool operator>(const Instant& other) const { return Nanoseconds() > other.Nanoseconds(); }
  bool operator<=(const Instant& other) const { return Nanoseconds() <= other.Nanoseconds(); }
  bool operator>=(const Instant& other) const { return Nanoseconds() >= other.Nanoseconds(); }
};

// Widening loses nothing, so three number types compare as all of protobuf's do; values of one
// field always hold the same alternative. The length of a list is a uint64_t. Types that no rule
// looks into (bool, bytes, enum, other messages) are std::monostate.
using Value = std::variant<std::monostate, int64_t, uint64_t, double, absl::string_view, Instant>;

// Returns the value of `field`, which is not repeated. A text lives as long as `message`.
Value ReadField(const google::protobuf::Message& message,
                const google::protobuf::FieldDescriptor& field);

// Returns the element at `index` of `field`, which is repeated.
Value ReadElement(const google::protobuf::Message& message,
                  const google::protobuf::FieldDescriptor& field, int index);

// Returns whether `field` is a google.protobuf.Timestamp.
bool IsTimestamp(const google::protobuf::FieldDescriptor& field);

// Returns whether `value` is 0 or an empty text.
bool IsZero(const Value& value);

// Returns the number of characters (code points) of a UTF-8 text.
uint64_t CharacterCount(absl::string_view text);

// Returns `value` for people: numbers in their shortest exact form, short texts quoted and
// escaped, long ones by their length.
std::string ToText(const Value& value);

}  // namespace energysites

#endif  // ENERGYSITES_VALIDATION_VALUE_H_
