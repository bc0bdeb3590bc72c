// libpq connection strings: completed with default timeouts, and printed without secrets.
#ifndef STORAGE_POSTGRES_DSN_H_
#define STORAGE_POSTGRES_DSN_H_

#include <functional>
#include <string>
#include <utility>

#include "absl/status/statusor.h"

namespace energysites::storage {

// Returns `url` (a libpq DSN or URI, empty for libpq's own PG... environment) as a DSN with
// connection and TCP timeouts for those it does not set, short enough that a host that does not
// answer is noticed within seconds. INVALID_ARGUMENT, without the secret, if libpq cannot read it.
absl::StatusOr<std::string> CompleteDsn(const std::string& url);

// The source of the DSN of connections. Read for each new connection, so that a password may change
// while the program runs. For any thread.
class DsnSource {
 public:
  using Read = std::function<absl::StatusOr<std::string>()>;

  DsnSource() : DsnSource(std::string()) {}
  // Always `dsn`, which is from CompleteDsn.
  // NOLINTNEXTLINE(google-explicit-constructor): a DSN is a source of itself.
  DsnSource(std::string dsn) : read_([dsn = std::move(dsn)] { return dsn; }) {}
  // What `read` returns, from any thread: a DSN from CompleteDsn, or why there is none now.
  explicit DsnSource(Read read) : read_(std::move(read)) {}

  absl::StatusOr<std::string> Get() const { return read_(); }

 private:
  Read read_;
};

// The user that libpq connects as: from `url` or PGUSER, or else the user of this process.
absl::StatusOr<std::string> UserOfDsn(const std::string& url);

// `url` as a DSN with its password hidden, for logs.
std::string DsnWithoutSecrets(const std::string& url);

}  // namespace energysites::storage

#endif  // STORAGE_POSTGRES_DSN_H_
