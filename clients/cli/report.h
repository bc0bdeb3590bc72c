// What is wrong with which line of a file.
#pragma once

#include <google/rpc/status.pb.h>

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace energysites {

struct Fault {
  int64_t line = 0;
  std::string text;
};

// What became of the rows of one file.
struct Counts {
  int64_t rows = 0;
  int64_t created = 0;
  int64_t present = 0;  // stored by an earlier run
  int64_t bad = 0;
};

// The faults that `status` finds in the row at `line`: one for each violation, whose path is made
// to begin with `resource` (`live_data_entry.soc`), or the status's own text if it has none.
std::vector<Fault> FaultsOf(const google::rpc::Status& status, int64_t line,
                            absl::string_view resource);

}  // namespace energysites
