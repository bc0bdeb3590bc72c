#include "clients/cli/report.h"

#include <google/rpc/error_details.pb.h>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace energysites {
namespace {

// Returns `live_data_entry.soc` for `entries[499].soc` and for `soc`.
std::string PathIn(absl::string_view path, absl::string_view resource) {
  if (absl::StartsWith(path, "entries[")) {
    const size_t end = path.find("].");
    if (end != absl::string_view::npos) path.remove_prefix(end + 2);
  }
  if (path == resource || absl::StartsWith(path, absl::StrCat(resource, "."))) {
    return std::string(path);
  }
  return absl::StrCat(resource, ".", path);
}

}  // namespace

std::vector<Fault> FaultsOf(const google::rpc::Status& status, int64_t line,
                            absl::string_view resource) {
  std::vector<Fault> faults;
  for (const google::protobuf::Any& detail : status.details()) {
    google::rpc::BadRequest bad;
    if (!detail.Is<google::rpc::BadRequest>() || !detail.UnpackTo(&bad)) continue;
    for (const auto& violation : bad.field_violations()) {
      faults.push_back(
          {line, absl::StrCat(PathIn(violation.field(), resource), ": ", violation.description())});
    }
  }
  if (faults.empty()) faults.push_back({line, status.message()});
  return faults;
}

}  // namespace energysites
