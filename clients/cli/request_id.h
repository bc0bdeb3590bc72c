// Reproducible request ids, so that a repeated import uses the same ones.
#pragma once

#include <string>

#include "absl/strings/string_view.h"

namespace energysites {

// Returns a UUID (version 8) that depends only on `content` and `generation`, the same in every
// process and on every machine. Its 122 bits are not a cryptographic hash.
std::string RequestId(absl::string_view content, int generation);

}  // namespace energysites
