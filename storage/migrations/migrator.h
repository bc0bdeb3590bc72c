// Brings a database to the schema that this program needs.
#ifndef STORAGE_MIGRATIONS_MIGRATOR_H_
#define STORAGE_MIGRATIONS_MIGRATOR_H_

#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "storage/migrations/migrations.h"

namespace energysites::storage {

// Applies, as the owner, the migrations that `owner_dsn`'s database does not have, each in its own
// transaction and recorded with its checksum, and grants `app_user` (may be empty or the owner)
// what the service needs and no more. One run at a time: a second waits. `report` gets a line for
// each step.
//
// Servers may run meanwhile. Calls wait for at most two seconds behind a migration that waits for
// its locks; it then times out, and is tried again for up to five minutes.
//
// Returns ABORTED if it did not get them, and nothing of that migration is done then;
// FAILED_PRECONDITION if an applied migration's text has changed since, or if the database has one
// that is not in `migrations`; UNAVAILABLE if the database cannot be reached.
absl::Status Migrate(const std::string& owner_dsn, const std::string& app_user,
                     const std::vector<Migration>& migrations,
                     const std::function<void(absl::string_view)>& report);

}  // namespace energysites::storage

#endif  // STORAGE_MIGRATIONS_MIGRATOR_H_
