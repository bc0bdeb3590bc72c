#include "services/server/read_file.h"

#include <fstream>
#include <sstream>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace energysites {

absl::StatusOr<std::string> ReadFile(const std::string& path) {
  // Not by iterators: they throw on a folder.
  std::ifstream stream(path);
  std::ostringstream text;
  // A read error in the middle sets failbit of `text` alone.
  if (stream.peek() != std::ifstream::traits_type::eof()) text << stream.rdbuf();
  if (!stream.is_open() || stream.bad() || text.fail()) {
    return absl::InvalidArgumentError(absl::StrCat("cannot read ", path));
  }
  if (text.str().empty()) return absl::InvalidArgumentError(absl::StrCat(path, " is empty"));
  return text.str();
}

}  // namespace energysites
