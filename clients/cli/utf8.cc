#include "clients/cli/utf8.h"

#include <algorithm>
#include <cstdint>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace energysites {
namespace {

constexpr size_t kMaxQuotedBytes = 80;

bool IsContinuation(char c) { return (static_cast<uint8_t>(c) & 0xC0) == 0x80; }

// Returns the length of the first character of `text`; 0 if it is not valid.
size_t CharacterLength(absl::string_view text) {
  const auto first = static_cast<uint8_t>(text[0]);
  if (first < 0x80) return 1;
  const size_t length = first >= 0xF0 ? 4 : first >= 0xE0 ? 3 : 2;
  if (first < 0xC2 || first > 0xF4 || text.size() < length) return 0;
  if (!std::all_of(text.begin() + 1, text.begin() + length, IsContinuation)) return 0;
  // Overlong forms, surrogates, and values above U+10FFFF.
  const auto second = static_cast<uint8_t>(text[1]);
  if ((first == 0xE0 && second < 0xA0) || (first == 0xED && second > 0x9F) ||
      (first == 0xF0 && second < 0x90) || (first == 0xF4 && second > 0x8F)) {
    return 0;
  }
  return length;
}

// U+0080 to U+009F.
bool HasC1Control(absl::string_view text) {
  for (size_t i = 0; i + 1 < text.size(); ++i) {
    if (text[i] == '\xC2' && static_cast<uint8_t>(text[i + 1]) < 0xA0) return true;
  }
  return false;
}

}  // namespace

size_t ValidUtf8Length(absl::string_view text) {
  size_t valid = 0;
  while (valid < text.size()) {
    const size_t length = CharacterLength(text.substr(valid));
    if (length == 0) break;
    valid += length;
  }
  return valid;
}

std::string Quoted(absl::string_view text) {
  size_t size = std::min(text.size(), kMaxQuotedBytes);
  while (size > 0 && size < text.size() && IsContinuation(text[size])) --size;
  text = text.substr(0, size);
  const bool safe = ValidUtf8Length(text) == size && !HasC1Control(text);
  return absl::StrCat("\"", safe ? absl::Utf8SafeCEscape(text) : absl::CHexEscape(text), "\"");
}

}  // namespace energysites
