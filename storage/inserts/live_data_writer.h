// Stores live data entries of unary calls.
#ifndef STORAGE_INSERTS_LIVE_DATA_WRITER_H_
#define STORAGE_INSERTS_LIVE_DATA_WRITER_H_

#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "energysites/v1/live_data.pb.h"
#include "storage/idempotency/write_requests.h"
#include "storage/inserts/entry_inserter.h"
#include "storage/inserts/shared_insert_state.h"
#include "storage/postgres/session.h"
#include "storage/postgres/statement.h"

namespace energysites::storage {

// Takes valid requests only. Every method may also return what Session::Transact does.
class LiveDataWriter {
 public:
  // Both outlive the writer.
  LiveDataWriter(Session& session, SharedInsertState& state)
      : session_(session), state_(state), inserter_(session, state) {}
  static Statements AllStatements();

  struct CreateCall {
    const v1::CreateLiveDataEntryRequest* request;
    std::optional<WriteRequest> write_request;
  };

  // Answers many calls by one transaction, each with its own verdict, in order. Those that would
  // delay the others are Unfinished, and are to be answered by Create: their site is locked,
  // unknown or being deleted, or their month has no partition yet. So are calls with
  // `validate_only`.
  std::vector<absl::StatusOr<v1::LiveDataEntry>> CreateMany(const std::vector<CreateCall>& calls);

  // Returns NOT_FOUND if the site is unknown or being deleted, FAILED_PRECONDITION if the entry is
  // older than the retention period, ALREADY_EXISTS if the request_id was used for another request.
  absl::StatusOr<v1::LiveDataEntry> Create(const CreateCall& call);

  // Stores the entries that are not in `invalid` (empty unless return_partial_success), in one
  // transaction. Returns NOT_FOUND, naming every such entry, if a site is unknown or being deleted
  // and return_partial_success is off; FAILED_PRECONDITION if an entry is older than the retention
  // period and return_partial_success is off; ALREADY_EXISTS if the request_id was used for another
  // request.
  absl::StatusOr<v1::BatchCreateLiveDataEntriesResponse> BatchCreate(
      const v1::BatchCreateLiveDataEntriesRequest& request, const EntryErrors& invalid,
      const std::optional<WriteRequest>& write_request);

 private:
  using Results = std::vector<absl::StatusOr<v1::LiveDataEntry>>;

  // Answers the calls that `indexes` selects; those that could not be stored are left Unfinished.
  absl::Status CreateGroup(const std::vector<CreateCall>& calls, const std::vector<size_t>& indexes,
                           bool (*is_call_error)(const absl::Status&), Results& results);

  Results Insert(pqxx::transaction_base& tx, const Entries& entries, const InsertOptions& options);
  // The verdicts on the sites without storing, for validate_only.
  Results CheckSites(pqxx::work& tx, const Entries& entries);

  Session& session_;
  SharedInsertState& state_;
  EntryInserter inserter_;
};

}  // namespace energysites::storage

#endif  // STORAGE_INSERTS_LIVE_DATA_WRITER_H_
