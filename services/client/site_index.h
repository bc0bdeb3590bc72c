// The sites that the service has, by name: the CSV files know no ids.
#pragma once

#include <cstdint>
#include <string>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "services/client/connection.h"

namespace energysites {

struct KnownSite {
  int64_t id = 0;
  bool made_by_this_run = false;  // so nothing of an earlier run is stored for it
};

// Holds the name of every site, some 100 bytes each. Not thread-safe.
class SiteIndex {
 public:
  static absl::StatusOr<SiteIndex> Load(const Connection& connection);

  void Add(absl::string_view name, KnownSite site);
  bool Contains(absl::string_view name) const { return by_name_.contains(name); }

  // NOT_FOUND for a name that no site has, FAILED_PRECONDITION for one that several have: names
  // need not be unique.
  absl::StatusOr<KnownSite> Find(absl::string_view name) const;

 private:
  struct Named {
    KnownSite first;
    int count = 0;
  };
  absl::flat_hash_map<std::string, Named> by_name_;
};

}  // namespace energysites
