// Stores live data entries that come as calls with one answer.
#ifndef STORAGE_INSERTS_LIVE_DATA_WRITER_H_
#define STORAGE_INSERTS_LIVE_DATA_WRITER_H_

#include <map>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "energysites/v1/live_data.pb.h"
#include "storage/idempotency/write_requests.h"
#include "storage/inserts/live_data_allocator.h"
#include "storage/postgres/session.h"
#include "storage/postgres/statement.h"

namespace energysites::storage {

// Takes valid requests only. Every method may also return what Session::Transact does.
class LiveDataWriter {
 public:
  // Both outlive the writer.
  LiveDataWriter(Session& session, LiveDataAllocator& allocator)
      : session_(session), allocator_(allocator) {}
  static Statements AllStatements();

  struct CreateCall {
    const v1::CreateLiveDataEntryRequest* request;
    std::optional<WriteRequest> write_request;
  };

  // Settles many calls in one transaction, each with its own verdict, in order. Those that would
  // make the others wait, because their site is locked, unknown or being deleted or their month
  // has no partition yet, are Unfinished: they go to Create. A fault that one call may have caused
  // is looked for by halves.
  std::vector<absl::StatusOr<v1::LiveDataEntry>> CreateMany(const std::vector<CreateCall>& calls);

  // Returns NOT_FOUND if the site is unknown or being deleted, FAILED_PRECONDITION if the entry is
  // too old to be kept, ALREADY_EXISTS if the request_id was used for another request.
  absl::StatusOr<v1::LiveDataEntry> Create(const CreateCall& call);

  // Why entries of a batch were refused, by index.
  using Failures = std::map<int, absl::Status>;

  // Stores the entries that are not in `invalid` (empty unless return_partial_success), in one
  // transaction. Returns NOT_FOUND, naming every such entry, if a site is unknown or being deleted
  // and return_partial_success is off; FAILED_PRECONDITION if an entry is too old to be kept and
  // return_partial_success is off; ALREADY_EXISTS if the request_id was used for another request.
  absl::StatusOr<v1::BatchCreateLiveDataEntriesResponse> BatchCreate(
      const v1::BatchCreateLiveDataEntriesRequest& request, const Failures& invalid,
      const std::optional<WriteRequest>& write_request);

 private:
  using Entries = std::vector<const v1::LiveDataEntry*>;
  using Stored = std::vector<std::optional<v1::LiveDataEntry>>;
  using Results = std::vector<absl::StatusOr<v1::LiveDataEntry>>;
  using Calls = std::vector<const CreateCall*>;

  Results CreateByHalves(const Calls& calls);
  absl::StatusOr<Results> TryMany(const Calls& calls);
  absl::StatusOr<Results> TryManyWithRequestIds(const Calls& calls);

  // Stores what it can; the result has nothing where the site is locked by someone else, unknown
  // or being deleted. One statement.
  Stored Insert(pqxx::transaction_base& tx, const Entries& entries);
  // The same, but waits for locked sites.
  Stored LockAndInsert(pqxx::work& tx, const Entries& entries);
  // The same without storing, for validate_only.
  Stored Check(pqxx::work& tx, const Entries& entries);

  // Adds the entries whose sites are missing or whose months are no longer kept to `failures`, by
  // their indexes there.
  absl::Status RefuseEntries(const Entries& entries, const std::vector<int>& indexes,
                             Failures& failures);

  // Runs `write` with the months of `entries` in place.
  template <class Write>
  auto WithMonths(const Entries& entries, Write write) -> decltype(write());

  Session& session_;
  LiveDataAllocator& allocator_;
};

}  // namespace energysites::storage

#endif  // STORAGE_INSERTS_LIVE_DATA_WRITER_H_
