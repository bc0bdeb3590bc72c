#include "services/live_data/time_zones.h"

#include <cstdlib>
#include <fstream>
#include <set>
#include <vector>

#include "absl/strings/str_split.h"

namespace energysites {
namespace {

// Returns the names in tzdata.zi: `Z NAME ...` is a zone and `L TARGET NAME` a link. UTC does not
// need the file.
std::set<std::string> ReadNames() {
  std::set<std::string> names = {"UTC"};
  const char* const folder = std::getenv("TZDIR");  // Used by LoadTimeZone, too.
  std::ifstream file(std::string(folder == nullptr ? "/usr/share/zoneinfo" : folder) +
                     "/tzdata.zi");
  for (std::string line; std::getline(file, line);) {
    const std::vector<std::string> words = absl::StrSplit(line, ' ');
    if (words.size() >= 2 && words[0] == "Z") names.insert(words[1]);
    if (words.size() >= 3 && words[0] == "L") names.insert(words[2]);
  }
  return names;
}

}  // namespace

std::optional<absl::TimeZone> FindTimeZone(const std::string& name) {
  // LoadTimeZone caches every name, also unknown ones, and is therefore not called for these.
  static const auto& kNames = *new std::set<std::string>(ReadNames());
  absl::TimeZone zone = absl::UTCTimeZone();
  if (name.empty()) return zone;
  if (kNames.count(name) == 0 || !absl::LoadTimeZone(name, &zone)) return std::nullopt;
  return zone;
}

}  // namespace energysites
