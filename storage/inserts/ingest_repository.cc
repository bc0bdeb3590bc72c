#include "storage/inserts/ingest_repository.h"

#include <algorithm>
#include <set>
#include <tuple>
#include <utility>

#include "storage/errors/errors.h"
#include "storage/live_data/live_data_id.h"
#include "storage/live_data/live_data_rollups.h"
#include "storage/postgres/binary_copy.h"
#include "storage/postgres/query.h"
#include "storage/postgres/sql_errors.h"

namespace energysites::storage {
namespace {

// Of refused entries: what a batch lists at most, and what the answer to `start` does.
constexpr int kMaxListed = 1000;
constexpr size_t kMaxListedBytes = 512 << 10;

// Waits for a stream that is committing just now.
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

// As for single entries: a site's key is held to the end, and sites are taken in one order.
constexpr Statement kLockSites = {"lock_sites_of_batch", R"sql(
  SELECT id FROM sites WHERE id = ANY($1::bigint[]) AND delete_time IS NULL
  ORDER BY id FOR KEY SHARE
)sql"};

constexpr char kCopyLiveData[] = R"sql(
  COPY live_data (id, site_id, dt_stamp, soc, load_kwh, net_load_kwh,
                  pv_notification, bio_notification, cro_notification)
  FROM STDIN (FORMAT binary)
)sql";

constexpr char kBeginPiece[] = "SAVEPOINT piece";
constexpr char kEndPiece[] = "RELEASE SAVEPOINT piece";
constexpr char kUndoPiece[] = "ROLLBACK TO SAVEPOINT piece; RELEASE SAVEPOINT piece";

constexpr char kCopyMarks[] = R"sql(
  COPY live_data_dirty_buckets (site_id, bucket) FROM STDIN (FORMAT binary)
)sql";

v1::RefusedEntries RefusedOf(int64_t sequence, const IngestRepository::Failures& failures) {
  v1::RefusedEntries refused;
  refused.set_sequence(sequence);
  refused.set_failed_count(static_cast<int32_t>(failures.size()));
  size_t bytes = 0;
  for (const auto& [index, failure] : failures) {
    const google::rpc::Status status = ToRpcStatus(failure);
    bytes += status.ByteSizeLong();
    if (refused.failed_entries_size() == kMaxListed || bytes > kMaxListedBytes) break;
    (*refused.mutable_failed_entries())[index] = status;
  }
  return refused;
}

}  // namespace

// An entry on its way into the table.
struct IngestRepository::Row {
  int64_t site_id;
  int64_t microseconds;  // dt_stamp, since 1970.
  int index;             // In the batch.
  const v1::LiveDataEntry* entry;
  int64_t month;
  int64_t id;
};

std::vector<IngestRepository::Row> IngestRepository::RowsOf(const v1::IngestBatch& batch,
                                                            const Failures& invalid) {
  std::vector<Row> rows;
  rows.reserve(batch.entries_size());
  for (int i = 0; i < batch.entries_size(); ++i) {
    if (!invalid.empty() && invalid.count(i) > 0) continue;
    const v1::LiveDataEntry& entry = batch.entries(i);
    const auto& stamp = entry.dt_stamp();
    rows.push_back({entry.site_id(), stamp.seconds() * 1000000 + stamp.nanos() / 1000, i, &entry,
                    MonthOf(stamp), 0});
  }
  // By the primary key: neighbours go to the same page of its index, and share site and bucket.
  std::sort(rows.begin(), rows.end(), [](const Row& a, const Row& b) {
    return std::tie(a.site_id, a.microseconds, a.index) <
           std::tie(b.site_id, b.microseconds, b.index);
  });
  return rows;
}

void IngestRepository::Refuse(std::vector<Row>& rows, Failures& failures,
                              const std::function<absl::Status(const Row&)>& check) {
  const auto rest = std::remove_if(rows.begin(), rows.end(), [&](const Row& row) {
    absl::Status failure = check(row);
    if (failure.ok()) return false;
    failures[row.index] = std::move(failure);
    return true;
  });
  rows.erase(rest, rows.end());
}

Statements IngestRepository::AllStatements() {
  return {&kOpenSession,   &kAdvanceSession, &kRememberRefused,
          &kForgetRefused, &kFindRefused,    &kLockSites};
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
                                                           const Failures& invalid,
                                                           const AwaitTurn& await_turn) {
  auto stored = StoreOnce(session, batch, hashes, invalid, await_turn, /*carefully=*/false);
  if (IsMissingPartition(stored.status())) {
    // The month was dropped since it was last seen.
    allocator_.ForgetMonths();
    stored = StoreOnce(session, batch, hashes, invalid, await_turn, /*carefully=*/false);
  }
  if (!IsFaultOfEntry(stored.status())) return stored;
  return StoreOnce(session, batch, hashes, invalid, await_turn, /*carefully=*/true);
}

absl::StatusOr<v1::RefusedEntries> IngestRepository::StoreOnce(
    const IngestSession& session, const v1::IngestBatch& batch, const BatchHashes& hashes,
    const Failures& invalid, const AwaitTurn& await_turn, bool carefully) {
  const std::vector<Row> valid = RowsOf(batch, invalid);
  const auto old_months = MakeMonths(valid);
  if (!old_months.ok()) return old_months.status();
  return session_.Transact([&](pqxx::work& tx) -> absl::StatusOr<v1::RefusedEntries> {
    std::vector<Row> rows = valid;
    Failures failures = invalid;
    LockSites(tx, rows, failures);
    // After the sites, which come first in an answer.
    if (!old_months->empty()) {
      Refuse(rows, failures, [&](const Row& row) {
        const auto old = old_months->find(row.month);
        return old == old_months->end() ? absl::OkStatus() : old->second;
      });
    }
    // Entries that share site and stamp are listed in the order sent.
    const std::vector<int64_t> numbers = allocator_.TakeNumbers(tx, batch.entries_size());
    for (Row& row : rows) row.id = LiveDataId(row.month, numbers[row.index]);
    if (carefully) {
      CopyCarefully(tx, rows, failures);
    } else {
      Copy(rows.begin(), rows.end());
    }
    MarkBuckets(rows);
    const absl::Status turn = [&] {
      const Connection::Waiting pause(session_.connection(), false);
      return await_turn();
    }();
    if (!turn.ok()) return turn;
    const int64_t sequence = batch.sequence();
    const Rows advanced =
        Query(tx, kAdvanceSession,
              {session.owner, session.name, session.stream, sequence, hashes.bytes()});
    if (advanced.affected() == 0) return IngestSessionTakenOver();
    v1::RefusedEntries refused = RefusedOf(sequence, failures);
    if (refused.failed_count() > 0) {
      Query(tx, kRememberRefused,
            {session.owner, session.name, sequence, refused.failed_count(),
             refused.SerializeAsString()});
    }
    return refused;
  });
}

absl::StatusOr<std::map<int64_t, absl::Status>> IngestRepository::MakeMonths(
    const std::vector<Row>& rows) {
  std::map<int64_t, absl::Status> old_months;
  std::set<int64_t> months;
  for (const Row& row : rows) months.insert(row.month);
  for (const int64_t month : months) {
    const absl::Status made = allocator_.MakeMonths(session_, {month});
    if (made.ok()) continue;
    if (!IsEntryNoLongerKept(made)) return made;
    old_months.emplace(month, made);
  }
  return old_months;
}

void IngestRepository::LockSites(pqxx::work& tx, std::vector<Row>& rows, Failures& failures) {
  Array<int64_t> wanted;
  int64_t last = 0;
  for (const Row& row : rows) {
    if (row.site_id != last) wanted.Add(row.site_id);
    last = row.site_id;
  }
  const Rows locked = Query(tx, kLockSites, {wanted});
  // Both are in the order of the sites.
  int next = 0;
  Refuse(rows, failures, [&](const Row& row) {
    while (next < locked.size() && locked.Int64(next, 0) < row.site_id) ++next;
    const bool found = next < locked.size() && locked.Int64(next, 0) == row.site_id;
    return found ? absl::OkStatus() : SiteNotFound(row.site_id);
  });
}

void IngestRepository::Copy(RowIterator begin, RowIterator end) {
  if (begin == end) return;
  BinaryCopyIn copy(session_.connection(), kCopyLiveData);
  for (auto row = begin; row != end; ++row) {
    const v1::LiveDataEntry& entry = *row->entry;
    copy.AddRow(row->id, row->site_id, Moment::FromUnixMicroseconds(row->microseconds), entry.soc(),
                entry.load_kwh(), entry.net_load_kwh(), entry.pv_notification(),
                entry.bio_notification(), entry.cro_notification());
  }
  copy.Finish();
}

void IngestRepository::CopyCarefully(pqxx::work& tx, std::vector<Row>& rows, Failures& failures) {
  std::map<int64_t, std::vector<Row>> months;
  for (const Row& row : rows) months[row.month].push_back(row);
  for (auto& [month, of_month] : months) {
    CopyPiece(tx, of_month.begin(), of_month.end(), failures);
  }
  Refuse(rows, failures, [&](const Row& row) {
    const auto failure = failures.find(row.index);
    return failure == failures.end() ? absl::OkStatus() : failure->second;
  });
}

void IngestRepository::CopyPiece(pqxx::work& tx, RowIterator begin, RowIterator end,
                                 Failures& failures) {
  absl::Status fault;
  tx.exec0(kBeginPiece);
  try {
    Copy(begin, end);
    tx.exec0(kEndPiece);
    return;
  } catch (const pqxx::sql_error&) {
    fault = StatusFromException();
    if (!IsFaultOfEntry(fault)) throw;
  }
  tx.exec0(kUndoPiece);
  // Months are kept or dropped as a whole.
  if (end - begin == 1 || IsEntryNoLongerKept(fault)) {
    const absl::Status why = IsEntryNoLongerKept(fault) ? fault : EntryRefused(SqlStateOf(fault));
    for (auto row = begin; row != end; ++row) failures[row->index] = why;
    return;
  }
  const auto middle = begin + (end - begin) / 2;
  CopyPiece(tx, begin, middle, failures);
  CopyPiece(tx, middle, end, failures);
}

void IngestRepository::MarkBuckets(const std::vector<Row>& rows) {
  if (rows.empty()) return;
  BinaryCopyIn copy(session_.connection(), kCopyMarks);
  std::pair<int64_t, int64_t> last;
  for (const Row& row : rows) {
    const std::pair<int64_t, int64_t> bucket = {row.site_id, BucketOf(row.microseconds)};
    if (bucket != last) {
      copy.AddRow(row.site_id, Moment::FromUnixMicroseconds(bucket.second));
    }
    last = bucket;
  }
  copy.Finish();
}

}  // namespace energysites::storage
