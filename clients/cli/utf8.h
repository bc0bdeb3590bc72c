// The encoding of text that comes from files and flags, and how errors quote such text.
#pragma once

#include <cstddef>
#include <string>

#include "absl/strings/string_view.h"

namespace energysites {

// The length of the longest prefix of `text` that is valid UTF-8.
size_t ValidUtf8Length(absl::string_view text);

// The first 80 bytes of `text` in double quotes. Bytes that are not UTF-8 and control characters,
// which a terminal could interpret, are escaped.
std::string Quoted(absl::string_view text);

}  // namespace energysites
