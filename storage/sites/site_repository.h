// Sites in the database.
#ifndef STORAGE_SITES_SITE_REPOSITORY_H_
#define STORAGE_SITES_SITE_REPOSITORY_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "energysites/v1/sites.pb.h"
#include "storage/idempotency/write_requests.h"
#include "storage/postgres/page.h"
#include "storage/postgres/session.h"
#include "storage/postgres/statement.h"

namespace energysites::storage {

// Returns NOT_FOUND with the first of `ids` that is unknown or being deleted.
absl::Status CheckSites(const pqxx::transaction_base& tx, const std::vector<int64_t>& ids);

// Rows that a transaction of a deletion takes at most.
constexpr int kRowsDeletedAtOnce = 5000;

// The sites whose deletion was interrupted, the longest interrupted ones first, up to a hundred.
absl::StatusOr<std::vector<int64_t>> FindAbandonedSites(Session& session);

// Deletes a part of the data of such a site, up to `limit` rows in a transaction. Returns whether
// there is more. Skips a site that a DeleteSite call is deleting. May run in several processes at
// once.
absl::StatusOr<bool> ContinueDeletion(Session& session, int64_t site_id, int limit);

// Takes valid requests only. A site that is being deleted counts as gone, but for Delete. Every
// method may also return what Session::Transact does.
class SiteRepository {
 public:
  explicit SiteRepository(Session& session) : session_(session) {}
  static Statements AllStatements();

  // Returns ALREADY_EXISTS if the request_id was used for another request.
  absl::StatusOr<v1::Site> Create(const v1::CreateSiteRequest& request,
                                  const std::optional<WriteRequest>& write_request);

  // Finds many in one query, each with its own status, in order: NOT_FOUND if there is no such
  // site.
  std::vector<absl::StatusOr<v1::Site>> GetMany(const std::vector<int64_t>& ids);

  // The sites after `page.last_key` {id}, by ascending id.
  absl::StatusOr<std::vector<v1::Site>> List(const Page& page);

  // Changes `fields` (names of Site's fields) only. Returns NOT_FOUND if there is no such site,
  // ABORTED if the etag sent is not the stored one.
  absl::StatusOr<v1::Site> Update(const v1::UpdateSiteRequest& request,
                                  const std::vector<std::string>& fields);

  // Begins the deletion, so that the site takes no new data, and deletes a part of its live data;
  // when none is left, the rest. Returns Unfinished while there is more to do, so that the deletion
  // of a large site does not occupy a connection; NOT_FOUND if there is no such site, ABORTED if
  // the etag sent is not the stored one.
  absl::StatusOr<google::protobuf::Empty> Delete(const v1::DeleteSiteRequest& request);

 private:
  Session& session_;
};

}  // namespace energysites::storage

#endif  // STORAGE_SITES_SITE_REPOSITORY_H_
