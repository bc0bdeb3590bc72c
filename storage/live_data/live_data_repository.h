// Reads and deletes live data entries.
#ifndef STORAGE_LIVE_DATA_LIVE_DATA_REPOSITORY_H_
#define STORAGE_LIVE_DATA_LIVE_DATA_REPOSITORY_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "energysites/v1/live_data.pb.h"
#include "storage/postgres/page.h"
#include "storage/postgres/session.h"
#include "storage/postgres/statement.h"

namespace energysites::storage {

struct LiveDataKey {
  int64_t site_id;
  int64_t id;
};

// Takes valid requests only. Every method may also return what Session::Transact does.
class LiveDataRepository {
 public:
  // `session` outlives the repository.
  explicit LiveDataRepository(Session& session) : session_(session) {}
  static Statements AllStatements();

  // Finds many in one query, each with its own status, in order: NOT_FOUND if there is no such
  // entry.
  std::vector<absl::StatusOr<v1::LiveDataEntry>> GetMany(const std::vector<LiveDataKey>& keys);

  // The entries after `page.last_key` {microseconds since 1970, id} in the order asked for.
  // Returns NOT_FOUND if the site is unknown.
  absl::StatusOr<std::vector<v1::LiveDataEntry>> List(const v1::ListLiveDataEntriesRequest& request,
                                                      const Page& page);

  // Returns NOT_FOUND if there is no such entry.
  absl::StatusOr<google::protobuf::Empty> Delete(const v1::DeleteLiveDataEntryRequest& request);

 private:
  Session& session_;
};

}  // namespace energysites::storage

#endif  // STORAGE_LIVE_DATA_LIVE_DATA_REPOSITORY_H_
