// Values of message fields as the text that stands in the CSV files, both ways.
#pragma once

#include <google/protobuf/message.h>
#include <google/protobuf/timestamp.pb.h>

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace energysites {

// The shortest text that reads back as the same double: `0`, `10.5`, `1e-07`.
std::string FormatDouble(double value);

// The moment in UTC: `2016-08-01T07:00:00Z`, with a fraction only where there is one.
std::string FormatStamp(const google::protobuf::Timestamp& stamp);

// RFC 3339 with `Z` or an offset and up to nine digits of fraction. INVALID_ARGUMENT for
// anything else, days that no month has included.
absl::StatusOr<google::protobuf::Timestamp> ParseStamp(absl::string_view text);

// Sets `field` (a double, int32, bool, string or Timestamp) of `message`. A boolean is true or
// false in letters of any case. Empty text leaves the field unset: whether it may be missing is for
// the service's rules to say, as are all bounds.
absl::Status SetFromText(const google::protobuf::FieldDescriptor& field, absl::string_view text,
                         google::protobuf::Message& message);

// What SetFromText would read back; empty if `field` is not set.
std::string FieldToText(const google::protobuf::FieldDescriptor& field,
                        const google::protobuf::Message& message);

}  // namespace energysites
