// Errors in the rows of a file.
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

// The number of rows of one file, by result.
struct Counts {
  int64_t rows = 0;
  int64_t created = 0;
  int64_t present = 0;  // stored by an earlier run
  int64_t bad = 0;
};

// Returns the errors in `status` for the row at `line`: one for each violation, with a path that
// begins with `resource` (`live_data_entry.soc`); the message of the status if it has no
// violations.
std::vector<Fault> FaultsOf(const google::rpc::Status& status, int64_t line,
                            absl::string_view resource);

}  // namespace energysites
