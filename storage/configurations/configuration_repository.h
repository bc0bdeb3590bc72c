// Configurations in the database.
#ifndef STORAGE_CONFIGURATIONS_CONFIGURATION_REPOSITORY_H_
#define STORAGE_CONFIGURATIONS_CONFIGURATION_REPOSITORY_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "energysites/v1/configurations.pb.h"
#include "storage/idempotency/write_requests.h"
#include "storage/postgres/page.h"
#include "storage/postgres/session.h"
#include "storage/postgres/statement.h"

namespace energysites::storage {

// Takes valid requests only. Every method may also return what Session::Transact does.
class ConfigurationRepository {
 public:
  explicit ConfigurationRepository(Session& session) : session_(session) {}
  static Statements AllStatements();

  // Returns NOT_FOUND if the site is unknown or being deleted, ALREADY_EXISTS if the request_id
  // was used for another request.
  absl::StatusOr<v1::Configuration> Create(const v1::CreateConfigurationRequest& request,
                                           const std::optional<WriteRequest>& write_request);

  struct Key {
    int64_t site_id;
    int64_t id;
  };

  // Finds many in one query, each with its own status, in order: NOT_FOUND if there is no such
  // configuration.
  std::vector<absl::StatusOr<v1::Configuration>> GetMany(const std::vector<Key>& keys);

  // The configurations of a site (0 for all) after `page.last_key` {site_id, id}, in that order.
  // Returns NOT_FOUND if the site is unknown.
  absl::StatusOr<std::vector<v1::Configuration>> List(int64_t site_id, const Page& page);

  // Changes `fields` (names of Configuration's fields) only; an optional one that is not present
  // is cleared. Returns NOT_FOUND if there is no such configuration, ABORTED if the etag sent is
  // not the stored one.
  absl::StatusOr<v1::Configuration> Update(const v1::UpdateConfigurationRequest& request,
                                           const std::vector<std::string>& fields);

  // Returns NOT_FOUND if there is no such configuration, ABORTED if the etag sent is not the
  // stored one.
  absl::StatusOr<google::protobuf::Empty> Delete(const v1::DeleteConfigurationRequest& request);

 private:
  Session& session_;
};

}  // namespace energysites::storage

#endif  // STORAGE_CONFIGURATIONS_CONFIGURATION_REPOSITORY_H_
