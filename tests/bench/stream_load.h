// One stream of entries, in or out.
#ifndef TESTS_BENCH_STREAM_LOAD_H_
#define TESTS_BENCH_STREAM_LOAD_H_

#include <cstdint>
#include <string>

#include "tests/bench/entries.h"
#include "tests/bench/result.h"

namespace energysites::bench {

struct IngestLoad {
  std::string session;
  int64_t rows = 0;
  int rows_per_batch = 1;
  int64_t first_stamp_us = 0, step_us = 0;  // Row k reports at first_stamp_us + k * step_us.
};

// Sends the rows as fast as the server takes them. The time ends when the last one is acknowledged.
Result Ingest(const std::string& target, const IngestLoad& load, Entries entries);

// Receives all entries of sites of which there are in [start_us, end_us).
Result Export(const std::string& target, int64_t start_us, int64_t end_us);

}  // namespace energysites::bench

#endif  // TESTS_BENCH_STREAM_LOAD_H_
