// Finds sites by the names and ids in files and flags.
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
  bool created_by_this_run = false;  // true: an earlier run cannot have stored entries for it
};

// A site as specified by the flags --site and --site_id.
struct SiteChoice {
  std::string name;
  std::string id;

  bool empty() const { return name.empty() && id.empty(); }
};

// Returns INVALID_ARGUMENT if both are set or if the id is not a positive number.
absl::Status CheckChoice(const SiteChoice& choice);

// Returns the site for a checked choice that is not empty. Returns NOT_FOUND if there is none and
// FAILED_PRECONDITION if several sites have the name.
absl::StatusOr<v1::Site> FindSite(const Connection& connection, const SiteChoice& choice);

// Holds the names of all sites, about 100 bytes each. Not thread-safe.
class SiteIndex {
 public:
  static absl::StatusOr<SiteIndex> Load(const Connection& connection);

  void Add(absl::string_view name, KnownSite site);
  bool Contains(absl::string_view name) const { return by_name_.contains(name); }

  // Find and FindId reject all other sites from now on.
  void RestrictTo(int64_t id) { only_id_ = id; }

  // Returns NOT_FOUND if no site has the name, and FAILED_PRECONDITION if several sites have it
  // (names need not be unique) or if the site is rejected (see RestrictTo).
  absl::StatusOr<KnownSite> Find(absl::string_view name) const;

  // Returns the site with the id in `text` without checking that it exists. Returns
  // INVALID_ARGUMENT if `text` is not a number and FAILED_PRECONDITION if the site is rejected (see
  // RestrictTo).
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
