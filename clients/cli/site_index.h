// The sites that the service has, and how files and flags name them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "clients/cli/connection.h"

namespace energysites {

struct KnownSite {
  int64_t id = 0;
  bool made_by_this_run = false;  // so nothing of an earlier run is stored for it
};

// A site as the flags --site and --site_id name it.
struct SiteChoice {
  std::string name;
  std::string id;

  bool empty() const { return name.empty() && id.empty(); }
};

// INVALID_ARGUMENT if both are given, or if the id is not a positive number.
absl::Status CheckChoice(const SiteChoice& choice);

// The site of a checked choice that is not empty. NOT_FOUND if there is none, FAILED_PRECONDITION
// if several sites have the name.
absl::StatusOr<v1::Site> FindSite(const Connection& connection, const SiteChoice& choice);

// Holds the name of every site, some 100 bytes each. Not thread-safe.
class SiteIndex {
 public:
  static absl::StatusOr<SiteIndex> Load(const Connection& connection);

  void Add(absl::string_view name, KnownSite site);
  bool Contains(absl::string_view name) const { return by_name_.contains(name); }

  // From now on the other sites are refused.
  void RestrictTo(int64_t id) { only_id_ = id; }

  // NOT_FOUND for a name that no site has, FAILED_PRECONDITION for one that several have (names
  // need not be unique) and for a site that is refused.
  absl::StatusOr<KnownSite> Find(absl::string_view name) const;

  // The site of the id that `text` is, whether or not there is one. INVALID_ARGUMENT for text that
  // is no number, FAILED_PRECONDITION for a site that is refused.
  absl::StatusOr<KnownSite> FindId(absl::string_view text) const;

 private:
  absl::StatusOr<KnownSite> Checked(KnownSite site) const;

  struct Named {
    KnownSite first;
    int count = 0;
  };
  absl::flat_hash_map<std::string, Named> by_name_;
  std::optional<int64_t> only_id_;
};

}  // namespace energysites
