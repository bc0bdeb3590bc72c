// Live data that streams bring in, and how far each stream's session came.
#ifndef STORAGE_INSERTS_INGEST_REPOSITORY_H_
#define STORAGE_INSERTS_INGEST_REPOSITORY_H_

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "energysites/v1/live_data.pb.h"
#include "storage/inserts/batch_hashes.h"
#include "storage/inserts/live_data_allocator.h"
#include "storage/postgres/session.h"
#include "storage/postgres/statement.h"

namespace energysites::storage {

// A session as one stream has it: until another one opens it.
struct IngestSession {
  std::string owner;
  std::string name;
  int64_t stream = 0;
};

// Takes valid requests only. Every method may also return what Session::Transact does.
class IngestRepository {
 public:
  // Both outlive the repository.
  IngestRepository(Session& session, LiveDataAllocator& allocator)
      : session_(session), allocator_(allocator) {}
  static Statements AllStatements();

  struct Opened {
    IngestSession session;
    int64_t committed_sequence = 0;
    BatchHashes hashes;
    // Of the batches after the last acknowledged one. When they are too many for one answer, only
    // the first ones are listed, and the rest counted.
    std::vector<v1::RefusedEntries> refused;
  };

  // Makes the session or takes it over from the stream that has it: what that one committed is in
  // the result, and it commits no more. If the caller was told of more than the session has
  // committed, returns NOT_FOUND where `owner` has no such session, else FAILED_PRECONDITION.
  absl::StatusOr<Opened> Open(const std::string& owner, const v1::IngestStart& start);

  // Why entries of a batch are refused, by index.
  using Failures = std::map<int, absl::Status>;
  using AwaitTurn = std::function<absl::Status()>;

  // Stores the batch after the session's last one, in one transaction with the session's new
  // place and `hashes`, which end with that of the batch: its entries but for those in `invalid`
  // and those that the database refuses, all of which the result names. Calls `await_turn` when
  // nothing but that place is left to write; once it returns OK, the batches before must be
  // committed. Returns ABORTED, and stores nothing, if another stream has the session.
  absl::StatusOr<v1::RefusedEntries> Store(const IngestSession& session,
                                           const v1::IngestBatch& batch, const BatchHashes& hashes,
                                           const Failures& invalid, const AwaitTurn& await_turn);

 private:
  struct Row;
  using RowIterator = std::vector<Row>::iterator;

  // `carefully` finds out which entries the database refuses.
  absl::StatusOr<v1::RefusedEntries> StoreOnce(const IngestSession& session,
                                               const v1::IngestBatch& batch,
                                               const BatchHashes& hashes, const Failures& invalid,
                                               const AwaitTurn& await_turn, bool carefully);

  // By site and stamp.
  static std::vector<Row> RowsOf(const v1::IngestBatch& batch, const Failures& invalid);
  // Moves rows that do not pass `check` to `failures`.
  static void Refuse(std::vector<Row>& rows, Failures& failures,
                     const std::function<absl::Status(const Row&)>& check);

  // Returns the months whose entries are no longer kept, each with the error that says so.
  absl::StatusOr<std::map<int64_t, absl::Status>> MakeMonths(const std::vector<Row>& rows);
  void LockSites(pqxx::work& tx, std::vector<Row>& rows, Failures& failures);
  void Copy(RowIterator begin, RowIterator end);
  void CopyCarefully(pqxx::work& tx, std::vector<Row>& rows, Failures& failures);
  void CopyPiece(pqxx::work& tx, RowIterator begin, RowIterator end, Failures& failures);
  void MarkBuckets(const std::vector<Row>& rows);

  Session& session_;
  LiveDataAllocator& allocator_;
};

}  // namespace energysites::storage

#endif  // STORAGE_INSERTS_INGEST_REPOSITORY_H_
