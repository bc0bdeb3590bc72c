// Live data that streams bring in, and the committed position of each ingest session.
#ifndef STORAGE_INSERTS_INGEST_REPOSITORY_H_
#define STORAGE_INSERTS_INGEST_REPOSITORY_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "energysites/v1/live_data.pb.h"
#include "storage/inserts/batch_hashes.h"
#include "storage/inserts/entry_inserter.h"
#include "storage/inserts/shared_insert_state.h"
#include "storage/postgres/session.h"
#include "storage/postgres/statement.h"

namespace energysites::storage {

// A session as opened by one stream. Valid until another stream opens it.
struct IngestSession {
  std::string owner;
  std::string name;
  int64_t stream = 0;
};

// Takes valid requests only. Every method may also return what Session::Transact does.
class IngestRepository {
 public:
  // Both outlive the repository.
  IngestRepository(Session& session, SharedInsertState& state)
      : session_(session), inserter_(session, state) {}
  static Statements AllStatements();

  struct Opened {
    IngestSession session;
    int64_t committed_sequence = 0;
    BatchHashes hashes;
    // Of the batches after the last acknowledged one. If they are too large for one answer, the
    // later batches have only their counts.
    std::vector<v1::RefusedEntries> refused;
  };

  // Creates the session, or takes it over from the stream that has it: that stream commits no more
  // batches, and the result includes those that it committed. If `start` acknowledges more than the
  // session has committed, returns NOT_FOUND if `owner` has no such session, else
  // FAILED_PRECONDITION.
  absl::StatusOr<Opened> Open(const std::string& owner, const v1::IngestStart& start);

  using AwaitCommits = std::function<absl::Status()>;

  // Stores the batch after the session's last one, in one transaction with the session's new
  // position and `hashes`, which end with that of the batch. Leaves out the entries in `invalid`
  // and those that the database refuses, and returns them. Calls `await_commits` when nothing but
  // the position is left to write; once it returns OK, the batches before must be committed.
  // Returns ABORTED, and stores nothing, if another stream has opened the session.
  absl::StatusOr<v1::RefusedEntries> Store(const IngestSession& session,
                                           const v1::IngestBatch& batch, const BatchHashes& hashes,
                                           const EntryErrors& invalid,
                                           const AwaitCommits& await_commits);

 private:
  Session& session_;
  EntryInserter inserter_;
};

}  // namespace energysites::storage

#endif  // STORAGE_INSERTS_INGEST_REPOSITORY_H_
