#include "services/live_data/time_zones.h"

#include <cstdlib>
#include <fstream>
#include <set>
#include <vector>

#include "absl/strings/str_split.h"

namespace energysites {
namespace {

// The names in tzdata.zi: `Z NAME ...` for a zone and `L TARGET NAME` for a link. UTC needs no
// file.
std::set<std::string> ReadNames() {
  std::set<std::string> names = {"UTC"};
  const char* const folder = std::getenv("TZDIR");  // Where LoadTimeZone looks, too.
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
  // LoadTimeZone keeps every name that it was ever asked for, so it is not asked for unknown ones.
  static const auto& kNames = *new std::set<std::string>(ReadNames());
  absl::TimeZone zone = absl::UTCTimeZone();
  if (name.empty()) return zone;
  if (kNames.count(name) == 0 || !absl::LoadTimeZone(name, &zone)) return std::nullopt;
  return zone;
}

}  // namespace energysites
