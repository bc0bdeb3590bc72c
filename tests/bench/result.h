// What a run of load came to.
#ifndef TESTS_BENCH_RESULT_H_
#define TESTS_BENCH_RESULT_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "grpcpp/support/status.h"

namespace energysites::bench {

struct Result {
  int64_t done = 0;  // Calls that were answered with OK; rows, where rows are counted.
  int64_t errors = 0;
  std::string first_error;
  absl::Duration time;
  std::vector<float> latencies_us;  // One for each call in `done`; empty where rows are counted.

  // Counts `status` as an error unless it is OK, and returns whether it is.
  bool Check(const grpc::Status& status);

  // Adds what another thread did in the same time.
  void Merge(Result other);

  // {"rate": 41000.5, "done": 123000, "errors": 0, "first_error": "", "p50_us": ..., "p99_us": ...}
  std::string Json();
};

}  // namespace energysites::bench

#endif  // TESTS_BENCH_RESULT_H_
