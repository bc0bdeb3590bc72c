// Any update mask, beside a plain reading of what the contract says of it.
//
// Takes the bytes of an UpdateConfigurationRequest, the one with fields that cannot be set.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "energysites/v1/configurations.pb.h"
#include "tests/fuzz/require.h"
#include "validation/update_mask.h"

namespace energysites::fuzz {
namespace {

using Names = std::vector<std::string>;
using Request = v1::UpdateConfigurationRequest;

// In the order of their declaration.
const Names& Settable() {
  static const auto& names = *new Names{
      "battery_vendor",       "battery_capacity_kwh", "battery_max_power_kw", "production_pv_units",
      "production_bio_units", "production_cro_units", "production_pv_kwp",    "production_cro_kwp"};
  return names;
}

bool IsSettable(const std::string& name) {
  return std::find(Settable().begin(), Settable().end(), name) != Settable().end();
}

Names Present(const v1::Configuration& configuration) {
  Names names;
  for (const std::string& name : Settable()) {
    const auto* field = configuration.GetDescriptor()->FindFieldByName(name);
    if (configuration.GetReflection()->HasField(configuration, field)) names.push_back(name);
  }
  return names;
}

// What `request` changes, if its mask is good.
Names Expected(const Request& request) {
  const std::set<std::string> paths(request.update_mask().paths().begin(),
                                    request.update_mask().paths().end());
  if (paths.empty()) return Present(request.configuration());
  if (paths.count("*") != 0) return Settable();
  Names names;
  for (const std::string& name : Settable()) {
    if (paths.count(name) != 0) names.push_back(name);
  }
  return names;
}

bool MaskIsGood(const Request& request) {
  const auto& paths = request.update_mask().paths();
  if (paths.empty()) return !request.has_configuration() || !Expected(request).empty();
  return (paths.size() == 1 && paths[0] == "*") ||
         std::all_of(paths.begin(), paths.end(), IsSettable);
}

std::vector<Violation> Violations(const Request& request) {
  std::vector<Violation> violations;
  CheckMask(*UpdateShapeOf(*Request::descriptor()), request, &violations);
  return violations;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  Request request;
  if (!request.ParseFromArray(data, static_cast<int>(size))) return -1;
  const bool is_good = Violations(request).empty();
  Require(is_good == MaskIsGood(request), "a mask is good or bad as the contract says");
  Require(Violations(request).size() <= 100, "a long mask gets a short answer");
  if (!is_good) return 0;
  Require(FieldsToUpdate(request) == Expected(request), "a mask changes what it names");

  Request twice = request;
  auto& paths = *twice.mutable_update_mask()->mutable_paths();
  std::reverse(paths.begin(), paths.end());
  if (paths.size() > 1) *paths.Add() = paths[0];
  Require(Violations(twice).empty() && FieldsToUpdate(twice) == FieldsToUpdate(request),
          "order and repetition of paths change nothing");
  return 0;
}

}  // namespace energysites::fuzz
