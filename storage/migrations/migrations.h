// The files of storage/migrations, built into the program in the order of their numbers.
#ifndef STORAGE_MIGRATIONS_MIGRATIONS_H_
#define STORAGE_MIGRATIONS_MIGRATIONS_H_

#include <vector>

namespace energysites::storage {

struct Migration {
  int version;
  const char* name;  // "0001_initial"
  const char* sql;
};

const std::vector<Migration>& Migrations();

}  // namespace energysites::storage

#endif  // STORAGE_MIGRATIONS_MIGRATIONS_H_
