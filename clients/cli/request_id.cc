#include "clients/cli/request_id.h"

#include <cstdint>

#include "absl/numeric/int128.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace energysites {
namespace {

// 128-bit FNV-1a; absl::Hash differs between processes.
absl::uint128 Hash(absl::string_view content) {
  constexpr absl::uint128 kPrime = absl::MakeUint128(0x0000000001000000, 0x000000000000013B);
  absl::uint128 hash = absl::MakeUint128(0x6C62272E07BB0142, 0x62B821756295C58D);
  for (const char c : content) hash = (hash ^ static_cast<unsigned char>(c)) * kPrime;
  return hash;
}

}  // namespace

std::string RequestId(absl::string_view content, int generation) {
  const absl::uint128 hash = Hash(absl::StrCat(generation, ":", content));
  const uint64_t high = absl::Uint128High64(hash);
  const uint64_t low = absl::Uint128Low64(hash);
  return absl::StrFormat("%08x-%04x-8%03x-%04x-%012x", high >> 32, (high >> 16) & 0xFFFF,
                         high & 0xFFF, 0x8000 | ((low >> 48) & 0x3FFF), low & 0xFFFFFFFFFFFF);
}

}  // namespace energysites
