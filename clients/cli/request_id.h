// Request ids that an interrupted import finds again.
#pragma once

#include <string>

#include "absl/strings/string_view.h"

namespace energysites {

// A UUID (version 8) that depends on `content` and `generation` alone, the same in every run and
// on every machine. Its 122 bits are a hash against accidents, not against an attacker.
std::string RequestId(absl::string_view content, int generation);

}  // namespace energysites
