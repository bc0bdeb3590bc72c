// Unary calls from many callers at once, each with its next call as soon as its last is answered.
#ifndef TESTS_BENCH_UNARY_LOAD_H_
#define TESTS_BENCH_UNARY_LOAD_H_

#include <functional>
#include <string>

#include "absl/time/time.h"
#include "grpcpp/support/byte_buffer.h"
#include "tests/bench/result.h"

namespace energysites::bench {

struct UnaryLoad {
  std::string target;
  std::string method;  // "/package.Service/Method".
  int callers = 1;
  int channels = 1;  // Connections, at most one for each caller.
  int threads = 1;
  // Calls are counted that end within `duration` after `warm_up`.
  absl::Duration warm_up;
  absl::Duration duration;
  // Where it is not 0, this many calls in all are made and counted instead, however long it takes.
  int64_t calls = 0;
};

// The next request, in the bytes of the wire. One for each thread.
using MakeRequest = std::function<grpc::ByteBuffer()>;

// Callers that get errors stop calling, so that a server that refuses everything ends the run.
Result Run(const UnaryLoad& load, const std::function<MakeRequest(int thread)>& make_requests);

}  // namespace energysites::bench

#endif  // TESTS_BENCH_UNARY_LOAD_H_
