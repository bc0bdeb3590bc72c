#include "clients/cli/field_text.h"

#include <charconv>
#include <cmath>
#include <cstdint>
#include <system_error>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "absl/time/civil_time.h"
#include "absl/time/time.h"
#include "clients/cli/utf8.h"

namespace energysites {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;
using google::protobuf::Timestamp;

absl::Status NotA(absl::string_view text, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat(Quoted(text), " is not ", what));
}

template <typename Number>
absl::StatusOr<Number> ParseNumber(absl::string_view text, absl::string_view what) {
  Number value = 0;
  const char* const end = text.data() + text.size();
  const std::from_chars_result result = std::from_chars(text.data(), end, value);
  if (result.ec != std::errc() || result.ptr != end) return NotA(text, what);
  return value;
}

// Removes `digits` digits from the front of `text` and sets `value` to their number.
bool ConsumeDigits(absl::string_view& text, size_t digits, int& value) {
  if (text.size() < digits) return false;
  value = 0;
  for (const char c : text.substr(0, digits)) {
    if (!absl::ascii_isdigit(c)) return false;
    value = value * 10 + (c - '0');
  }
  text.remove_prefix(digits);
  return true;
}

bool ConsumeFraction(absl::string_view& text, int& nanos) {
  nanos = 0;
  if (!absl::ConsumePrefix(&text, ".")) return true;
  size_t digits = 0;
  while (digits < text.size() && absl::ascii_isdigit(text[digits])) ++digits;
  if (digits == 0 || digits > 9 || !ConsumeDigits(text, digits, nanos)) return false;
  for (; digits < 9; ++digits) nanos *= 10;
  return true;
}

// Removes `Z` or `+hh:mm` from the front of `text` and sets `seconds` to the offset from UTC.
bool ConsumeOffset(absl::string_view& text, int& seconds) {
  seconds = 0;
  if (absl::ConsumePrefix(&text, "Z")) return true;
  const bool behind = !text.empty() && text.front() == '-';
  if (!absl::ConsumePrefix(&text, "+") && !absl::ConsumePrefix(&text, "-")) return false;
  int hours = 0;
  int minutes = 0;
  if (!ConsumeDigits(text, 2, hours) || !absl::ConsumePrefix(&text, ":") ||
      !ConsumeDigits(text, 2, minutes) || hours > 23 || minutes > 59) {
    return false;
  }
  seconds = (hours * 60 + minutes) * 60 * (behind ? -1 : 1);
  return true;
}

}  // namespace

std::string FormatDouble(double value) {
  // Without a format, to_chars picks the shorter form and writes 100000 as 1e+05.
  const double size = std::fabs(value);
  const bool plain = size == 0 || (size >= 1e-4 && size < 1e16);
  char text[64];
  const std::to_chars_result result =
      plain ? std::to_chars(text, text + sizeof(text), value, std::chars_format::fixed)
            : std::to_chars(text, text + sizeof(text), value);
  return std::string(text, result.ptr);
}

std::string FormatStamp(const Timestamp& stamp) {
  const absl::CivilSecond civil =
      absl::ToCivilSecond(absl::FromUnixSeconds(stamp.seconds()), absl::UTCTimeZone());
  std::string text = absl::StrFormat("%04d-%02d-%02dT%02d:%02d:%02d", civil.year(), civil.month(),
                                     civil.day(), civil.hour(), civil.minute(), civil.second());
  if (stamp.nanos() != 0) {
    absl::StrAppendFormat(&text, ".%09d", stamp.nanos());
    text.erase(text.find_last_not_of('0') + 1);
  }
  return text + "Z";
}

absl::StatusOr<Timestamp> ParseStamp(absl::string_view text) {
  absl::string_view rest = text;
  int year, month, day, hour, minute, second, nanos, offset;
  const bool shaped = ConsumeDigits(rest, 4, year) && absl::ConsumePrefix(&rest, "-") &&
                      ConsumeDigits(rest, 2, month) && absl::ConsumePrefix(&rest, "-") &&
                      ConsumeDigits(rest, 2, day) && absl::ConsumePrefix(&rest, "T") &&
                      ConsumeDigits(rest, 2, hour) && absl::ConsumePrefix(&rest, ":") &&
                      ConsumeDigits(rest, 2, minute) && absl::ConsumePrefix(&rest, ":") &&
                      ConsumeDigits(rest, 2, second) && ConsumeFraction(rest, nanos) &&
                      ConsumeOffset(rest, offset) && rest.empty();
  if (!shaped) return NotA(text, "a time such as 2016-08-01T07:00:00Z");
  const absl::CivilSecond civil(year, month, day, hour, minute, second);
  // CivilSecond normalizes 30 February to 1 or 2 March.
  if (civil.month() != month || civil.day() != day || civil.hour() != hour ||
      civil.minute() != minute || civil.second() != second) {
    return NotA(text, "a valid date and time");
  }
  Timestamp stamp;
  stamp.set_seconds(absl::ToUnixSeconds(absl::FromCivil(civil, absl::UTCTimeZone())) - offset);
  stamp.set_nanos(nanos);
  return stamp;
}

absl::Status SetFromText(const FieldDescriptor& field, absl::string_view text, Message& message) {
  if (text.empty()) return absl::OkStatus();
  const Reflection& reflection = *message.GetReflection();
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_DOUBLE: {
      absl::StatusOr<double> value = ParseNumber<double>(text, "a number in the range of a double");
      if (!value.ok()) return value.status();
      reflection.SetDouble(&message, &field, *value);
      return absl::OkStatus();
    }
    case FieldDescriptor::CPPTYPE_INT32: {
      absl::StatusOr<int32_t> value = ParseNumber<int32_t>(text, "a whole number of 32 bits");
      if (!value.ok()) return value.status();
      reflection.SetInt32(&message, &field, *value);
      return absl::OkStatus();
    }
    case FieldDescriptor::CPPTYPE_BOOL: {
      // Spreadsheets write TRUE and FALSE.
      const bool value = absl::EqualsIgnoreCase(text, "true");
      if (!value && !absl::EqualsIgnoreCase(text, "false")) {
        return NotA(text, "true or false");
      }
      reflection.SetBool(&message, &field, value);
      return absl::OkStatus();
    }
    case FieldDescriptor::CPPTYPE_STRING:
      reflection.SetString(&message, &field, std::string(text));
      return absl::OkStatus();
    case FieldDescriptor::CPPTYPE_MESSAGE: {
      absl::StatusOr<Timestamp> stamp = ParseStamp(text);
      if (!stamp.ok()) return stamp.status();
      reflection.MutableMessage(&message, &field)->CopyFrom(*stamp);
      return absl::OkStatus();
    }
    default:
      return absl::InternalError(absl::StrCat("no CSV form for ", field.full_name()));
  }
}

std::string FieldToText(const FieldDescriptor& field, const Message& message) {
  const Reflection& reflection = *message.GetReflection();
  if (!reflection.HasField(message, &field)) return "";
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return FormatDouble(reflection.GetDouble(message, &field));
    case FieldDescriptor::CPPTYPE_INT32:
      return absl::StrCat(reflection.GetInt32(message, &field));
    case FieldDescriptor::CPPTYPE_BOOL:
      return reflection.GetBool(message, &field) ? "true" : "false";
    case FieldDescriptor::CPPTYPE_STRING:
      return reflection.GetString(message, &field);
    case FieldDescriptor::CPPTYPE_MESSAGE:
      return FormatStamp(static_cast<const Timestamp&>(reflection.GetMessage(message, &field)));
    default:
      return "";
  }
}

}  // namespace energysites
