// Converts values of message fields to and from the text in the CSV files.
#pragma once

#include <google/protobuf/message.h>
#include <google/protobuf/timestamp.pb.h>

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace energysites {

// Returns the shortest text that parses to the same double: `0`, `10.5`, `1e-07`.
std::string FormatDouble(double value);

// Returns the time in UTC, with a fraction only if it is not zero: `2016-08-01T07:00:00Z`.
std::string FormatStamp(const google::protobuf::Timestamp& stamp);

// Parses RFC 3339 with `Z` or an offset, and with up to nine digits of fraction. Returns
// INVALID_ARGUMENT for anything else, including days that do not exist, such as 30 February.
absl::StatusOr<google::protobuf::Timestamp> ParseStamp(absl::string_view text);

// Sets `field` (a double, int32, bool, string or Timestamp) of `message`. A boolean is `true` or
// `false` in any case. Empty text leaves the field unset. The service checks required fields and
// bounds.
absl::Status SetFromText(const google::protobuf::FieldDescriptor& field, absl::string_view text,
                         google::protobuf::Message& message);

// Returns the text that SetFromText parses to the value of `field`; empty if it is not set.
std::string FieldToText(const google::protobuf::FieldDescriptor& field,
                        const google::protobuf::Message& message);

}  // namespace energysites
