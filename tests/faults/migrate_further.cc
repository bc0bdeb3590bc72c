// `migrate` of a version to come: the migrations that there are, and one more, whose SQL is on
// standard input.
#include <iostream>
#include <iterator>
#include <string>

#include "storage/migrations.h"
#include "storage/migrator.h"

int main(int argc, char** argv) {
  if (argc != 3) {
    std::cerr << "usage: migrate_further OWNER_DSN APP_USER <SQL\n";
    return 2;
  }
  const std::string sql{std::istreambuf_iterator<char>(std::cin), {}};
  std::vector<energysites::storage::Migration> migrations = energysites::storage::Migrations();
  migrations.push_back({9000, "9000_further", sql.c_str()});
  const absl::Status status = energysites::storage::Migrate(
      argv[1], argv[2], migrations, [](absl::string_view line) { std::cout << line << "\n"; });
  if (!status.ok()) std::cerr << status << "\n";
  return status.ok() ? 0 : 1;
}
