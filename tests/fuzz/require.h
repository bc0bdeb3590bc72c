// What a fuzz target promises of the code under test.
#ifndef TESTS_FUZZ_REQUIRE_H_
#define TESTS_FUZZ_REQUIRE_H_

#include <cstdio>
#include <cstdlib>

namespace energysites::fuzz {

// Ends the program, saying `broken_promise`, unless `holds`; libFuzzer then keeps the input.
inline void Require(bool holds, const char* broken_promise) {
  if (holds) return;
  std::fprintf(stderr, "broken promise: %s\n", broken_promise);
  std::abort();
}

}  // namespace energysites::fuzz

#endif  // TESTS_FUZZ_REQUIRE_H_
