#include "storage/inserts/ingest_repository.h"

#include "storage/errors/errors.h"
#include "storage/postgres/query.h"
#include "storage/postgres/sql_errors.h"

namespace energysites::storage {
namespace {

// Limits of the refused entries that are listed: for a batch, and for the answer to `start`.
constexpr int kMaxListed = 1000;
constexpr size_t kMaxListedBytes = 512 << 10;

// Waits for a stream that is committing.
constexpr Statement kOpenSession = {"open_ingest_session", R"sql(
  INSERT INTO ingest_sessions AS known (owner, session) VALUES ($1, $2)
  ON CONFLICT (owner, session) DO UPDATE SET stream = known.stream + 1, update_time = now()
  RETURNING stream, committed_sequence, hashed_sequence, batch_hashes
)sql"};

constexpr Statement kAdvanceSession = {"advance_ingest_session", R"sql(
  UPDATE ingest_sessions SET committed_sequence = $4, update_time = now(),
                             hashed_sequence = $4, batch_hashes = $5
  WHERE owner = $1 AND session = $2 AND stream = $3 AND committed_sequence = $4::bigint - 1
)sql"};

// A client cannot have missed more batches than the server and the network hold.
constexpr Statement kRememberRefused = {"remember_ingest_refusals", R"sql(
  WITH forgotten AS (
    DELETE FROM ingest_refusals WHERE owner = $1 AND session = $2 AND sequence <= $3::bigint - 1000
  )
  INSERT INTO ingest_refusals (owner, session, sequence, failed_count, refused)
  VALUES ($1, $2, $3, $4, $5)
)sql"};

constexpr Statement kForgetRefused = {"forget_ingest_refusals", R"sql(
  DELETE FROM ingest_refusals WHERE owner = $1 AND session = $2 AND sequence <= $3
)sql"};

constexpr Statement kFindRefused = {"find_ingest_refusals", R"sql(
  SELECT sequence, failed_count,
         CASE WHEN sum(octet_length(refused)) OVER (ORDER BY sequence) <= 1048576
              THEN refused END AS refused
  FROM ingest_refusals WHERE owner = $1 AND session = $2 ORDER BY sequence
)sql"};

v1::RefusedEntries RefusedOf(int64_t sequence, const EntryErrors& errors) {
  v1::RefusedEntries refused;
  refused.set_sequence(sequence);
  refused.set_failed_count(static_cast<int32_t>(errors.size()));
  size_t bytes = 0;
  for (const auto& [index, error] : errors) {
    const google::rpc::Status status = ToRpcStatus(error);
    bytes += status.ByteSizeLong();
    if (refused.failed_entries_size() == kMaxListed || bytes > kMaxListedBytes) break;
    (*refused.mutable_failed_entries())[index] = status;
  }
  return refused;
}

}  // namespace

Statements IngestRepository::AllStatements() {
  return {&kOpenSession, &kAdvanceSession, &kRememberRefused, &kForgetRefused, &kFindRefused};
}

absl::StatusOr<IngestRepository::Opened> IngestRepository::Open(const std::string& owner,
                                                                const v1::IngestStart& start) {
  const std::string& name = start.session();
  const int64_t acknowledged = start.acknowledged_sequence();
  return session_.Transact([&](pqxx::work& tx) -> absl::StatusOr<Opened> {
    const Rows row = Query(tx, kOpenSession, {owner, name});
    Opened opened;
    opened.session = {owner, name, row.Int64(0, 0)};
    opened.committed_sequence = row.Int64(0, 1);
    opened.hashes = {opened.committed_sequence, row.Int64(0, 2), row.Text(0, 3)};
    // Going on would store again what the caller has sent before.
    if (acknowledged > opened.committed_sequence) {
      const bool is_new = opened.session.stream == 1;
      return is_new ? IngestSessionNotFound(name) : IngestSessionForgotten();
    }
    Query(tx, kForgetRefused, {owner, name, acknowledged});
    const Rows refused = Query(tx, kFindRefused, {owner, name});
    for (int i = 0; i < refused.size(); ++i) {
      v1::RefusedEntries& entries = opened.refused.emplace_back();
      if (!refused.IsNull(i, 2)) {
        const absl::string_view bytes = refused.Text(i, 2);
        if (!entries.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
          return absl::DataLossError("a stored refusal is broken");
        }
      }
      entries.set_sequence(refused.Int64(i, 0));
      entries.set_failed_count(refused.Int32(i, 1));
    }
    return opened;
  });
}

absl::StatusOr<v1::RefusedEntries> IngestRepository::Store(const IngestSession& session,
                                                           const v1::IngestBatch& batch,
                                                           const BatchHashes& hashes,
                                                           const EntryErrors& invalid,
                                                           const AwaitCommits& await_commits) {
  const ValidEntries valid(batch.entries(), invalid);
  const int64_t sequence = batch.sequence();
  const auto store = [&](pqxx::work& tx,
                         const InsertOptions& options) -> absl::StatusOr<v1::RefusedEntries> {
    EntryErrors errors = invalid;
    const auto verdicts = inserter_.InsertEntries(tx, valid.entries, options);
    for (size_t i = 0; i < verdicts.size(); ++i) {
      const absl::Status& error = verdicts[i].status();
      if (error.ok()) continue;
      errors.emplace(valid.indexes[i],
                     IsFaultOfEntry(error) ? EntryRefused(SqlStateOf(error)) : error);
    }
    const absl::Status committed = [&] {
      const Connection::Waiting pause(session_.connection(), false);
      return await_commits();
    }();
    if (!committed.ok()) return committed;
    const Rows advanced =
        Query(tx, kAdvanceSession,
              {session.owner, session.name, session.stream, sequence, hashes.bytes()});
    if (advanced.affected() == 0) return IngestSessionTakenOver();
    v1::RefusedEntries refused = RefusedOf(sequence, errors);
    if (refused.failed_count() > 0) {
      Query(tx, kRememberRefused,
            {session.owner, session.name, sequence, refused.failed_count(),
             refused.SerializeAsString()});
    }
    return refused;
  };
  return inserter_.WithMonths(valid.entries, [&](const Months& expired_months) {
    const auto transact = [&](const InsertOptions& options) {
      return session_.Transact([&](pqxx::work& tx) { return store(tx, options); });
    };
    auto stored = transact({expired_months});
    if (!IsFaultOfEntry(stored.status())) return stored;
    return transact({expired_months, /*skip_locked_sites=*/false, IsFaultOfEntry});
  });
}

}  // namespace energysites::storage
