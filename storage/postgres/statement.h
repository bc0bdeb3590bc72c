// A query with the name under which every session prepares it.
#ifndef STORAGE_POSTGRES_STATEMENT_H_
#define STORAGE_POSTGRES_STATEMENT_H_

#include <vector>

namespace energysites::storage {

struct Statement {
  const char* name;
  const char* sql;
};

// Each repository lists its statements, so that sessions prepare them and one test checks all.
using Statements = std::vector<const Statement*>;

}  // namespace energysites::storage

#endif  // STORAGE_POSTGRES_STATEMENT_H_
