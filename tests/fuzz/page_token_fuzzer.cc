// Any text as a page or resume token: only what was written here is taken, and gives back what was
// written.
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "fuzzer/FuzzedDataProvider.h"
#include "services/rpc/page_token.h"
#include "tests/fuzz/require.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using energysites::DecodePageToken;
  using energysites::EncodePageToken;
  using energysites::fuzz::Require;
  FuzzedDataProvider input(data, size);
  const auto fingerprint = input.ConsumeIntegral<uint32_t>();
  std::vector<int64_t> key(input.ConsumeIntegralInRange<size_t>(0, 3));
  for (int64_t& number : key) number = input.ConsumeIntegral<int64_t>();

  const std::string token = EncodePageToken(fingerprint, key);
  const auto decoded = DecodePageToken(token, fingerprint, key.size());
  Require(decoded.ok() && *decoded == key, "a token gives back its key");
  for (size_t other = 0; other < 5; ++other) {
    Require(other == key.size() || !DecodePageToken(token, fingerprint, other).ok(),
            "a token of another length is refused");
  }
  Require(!DecodePageToken(token, fingerprint ^ 1, key.size()).ok(), "a foreign token is refused");

  // A token with one byte changed, then any text.
  std::string changed = token;
  changed[input.ConsumeIntegralInRange<size_t>(0, token.size() - 1)] =
      input.ConsumeIntegral<char>();
  Require(changed == token || !DecodePageToken(changed, fingerprint, key.size()).ok(),
          "a changed token is refused");
  const std::string text = input.ConsumeRemainingBytesAsString();
  const auto foreign = DecodePageToken(text, fingerprint, key.size());
  Require(!foreign.ok() || EncodePageToken(fingerprint, *foreign) == text,
          "there is one text for each token");
  return 0;
}
