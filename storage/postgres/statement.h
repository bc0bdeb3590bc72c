// A query with the name under which connections prepare it when they first run it.
#ifndef STORAGE_POSTGRES_STATEMENT_H_
#define STORAGE_POSTGRES_STATEMENT_H_

#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"

namespace energysites::storage {

// Both texts live as long as the program.
struct Statement {
  const char* name;
  const char* sql;
};

// Each repository lists its statements, so that one test checks all of them.
using Statements = std::vector<const Statement*>;

// A statement with lists of columns that several statements share: `sql` with each text of `parts`
// replaced by the one paired with it. To be made once, when the program starts, of constants only:
// values of callers are parameters.
Statement ComposeStatement(const char* name, absl::string_view sql,
                           const std::vector<std::pair<absl::string_view, std::string>>& parts);

}  // namespace energysites::storage

#endif  // STORAGE_POSTGRES_STATEMENT_H_
