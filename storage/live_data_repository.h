// Live data entries in the database.
#ifndef STORAGE_LIVE_DATA_REPOSITORY_H_
#define STORAGE_LIVE_DATA_REPOSITORY_H_

#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "energysites/v1/live_data.pb.h"
#include "storage/live_data_allocator.h"
#include "storage/rows.h"
#include "storage/session.h"
#include "storage/statement.h"
#include "storage/write_requests.h"

namespace energysites::storage {

// Takes valid requests only. Every method may also return what Session::Transact does.
class LiveDataRepository {
 public:
  // Both outlive the repository.
  LiveDataRepository(Session& session, LiveDataAllocator& allocator)
      : session_(session), allocator_(allocator) {}
  static Statements AllStatements();

  // Returns NOT_FOUND if the site is unknown or being deleted, ALREADY_EXISTS if the request_id
  // was used for another request.
  absl::StatusOr<v1::LiveDataEntry> Create(const v1::CreateLiveDataEntryRequest& request,
                                           const std::optional<WriteRequest>& write_request);

  // Why entries of a batch were refused, by index.
  using Failures = std::map<int, absl::Status>;

  // Stores the entries that are not in `invalid` (empty unless return_partial_success), in one
  // transaction. Returns NOT_FOUND, naming every such entry, if a site is unknown or being deleted
  // and return_partial_success is off; ALREADY_EXISTS if the request_id was used for another
  // request.
  absl::StatusOr<v1::BatchCreateLiveDataEntriesResponse> BatchCreate(
      const v1::BatchCreateLiveDataEntriesRequest& request, const Failures& invalid,
      const std::optional<WriteRequest>& write_request);

  // Returns NOT_FOUND if there is no such entry.
  absl::StatusOr<v1::LiveDataEntry> Get(int64_t site_id, int64_t id);

  // The entries after `page.last_key` {microseconds since 1970, id} in the order asked for.
  // Returns NOT_FOUND if the site is unknown.
  absl::StatusOr<std::vector<v1::LiveDataEntry>> List(const v1::ListLiveDataEntriesRequest& request,
                                                      const Page& page);

  // Returns NOT_FOUND if there is no such entry.
  absl::StatusOr<google::protobuf::Empty> Delete(const v1::DeleteLiveDataEntryRequest& request);

 private:
  using Entries = std::vector<const v1::LiveDataEntry*>;

  // Stores what it can; the result has nothing where the site is unknown or being deleted.
  std::vector<std::optional<v1::LiveDataEntry>> Insert(pqxx::work& tx, const Entries& entries);

  // The same without storing, for validate_only.
  std::vector<std::optional<v1::LiveDataEntry>> Check(pqxx::work& tx, const Entries& entries);

  // Runs `write` with the months of `entries` in place.
  template <class Write>
  auto WithMonths(const Entries& entries, Write write) -> decltype(write());

  Session& session_;
  LiveDataAllocator& allocator_;
};

}  // namespace energysites::storage

#endif  // STORAGE_LIVE_DATA_REPOSITORY_H_
