#include "storage/postgres/statement.h"

#include <cstring>

#include "absl/strings/str_replace.h"

namespace energysites::storage {

Statement ComposeStatement(const char* name, absl::string_view sql,
                           const std::vector<std::pair<absl::string_view, std::string>>& parts) {
  return {name, strdup(absl::StrReplaceAll(sql, parts).c_str())};
}

}  // namespace energysites::storage
