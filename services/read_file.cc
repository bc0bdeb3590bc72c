#include "services/read_file.h"

#include <fstream>
#include <sstream>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace energysites {

absl::StatusOr<std::string> ReadFile(const std::string& path) {
  // Not by iterators: they throw on a folder.
  std::ifstream stream(path);
  std::ostringstream text;
  if (stream.peek() != stream.eof()) text << stream.rdbuf();
  if (!stream.is_open() || stream.bad() || text.bad()) {
    return absl::InvalidArgumentError(absl::StrCat("cannot read ", path));
  }
  if (text.str().empty()) return absl::InvalidArgumentError(absl::StrCat(path, " is empty"));
  return text.str();
}

}  // namespace energysites
