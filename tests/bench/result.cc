#include "tests/bench/result.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_replace.h"

namespace energysites::bench {
namespace {

// The value that `share` of `values` do not exceed. Reorders them.
float Percentile(std::vector<float>& values, double share) {
  if (values.empty()) return 0;
  const auto at = values.begin() + static_cast<int64_t>(share * (values.size() - 1));
  std::nth_element(values.begin(), at, values.end());
  return *at;
}

}  // namespace

bool Result::Check(const grpc::Status& status) {
  if (status.ok()) return true;
  if (++errors == 1) {
    first_error = absl::StrCat("gRPC code ", status.error_code(), ": ", status.error_message());
  }
  return false;
}

void Result::Merge(Result other) {
  done += other.done;
  if (errors == 0) first_error = std::move(other.first_error);
  errors += other.errors;
  time = std::max(time, other.time);
  latencies_us.insert(latencies_us.end(), other.latencies_us.begin(), other.latencies_us.end());
}

std::string Result::Json() {
  const std::string error =
      absl::StrReplaceAll(first_error, {{"\\", "\\\\"}, {"\"", "\\\""}, {"\n", " "}});
  return absl::StrFormat(
      R"({"rate": %.2f, "done": %d, "errors": %d, "first_error": "%s", "p50_us": %.1f, "p99_us": %.1f})",
      done == 0 ? 0 : done / absl::ToDoubleSeconds(time), done, errors, error,
      Percentile(latencies_us, 0.5), Percentile(latencies_us, 0.99));
}

}  // namespace energysites::bench
