// A query with the name under which connections prepare it when they first run it.
#ifndef STORAGE_POSTGRES_STATEMENT_H_
#define STORAGE_POSTGRES_STATEMENT_H_

#include <vector>

namespace energysites::storage {

struct Statement {
  const char* name;
  const char* sql;
};

// Each repository lists its statements, so that one test checks all of them.
using Statements = std::vector<const Statement*>;

}  // namespace energysites::storage

#endif  // STORAGE_POSTGRES_STATEMENT_H_
