// Checks the encoding of text from files and flags, and quotes such text in errors.
#pragma once

#include <cstddef>
#include <string>

#include "absl/strings/string_view.h"

namespace energysites {

// Returns the length of the longest prefix of `text` that is valid UTF-8.
size_t ValidUtf8Length(absl::string_view text);

// Returns the first 80 bytes of `text` in double quotes. Invalid UTF-8 and control characters,
// which a terminal could interpret, are escaped.
std::string Quoted(absl::string_view text);

}  // namespace energysites
