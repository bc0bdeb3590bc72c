#include "storage/inserts/entry_inserter.h"

#include <algorithm>
#include <cstdint>
#include <tuple>
#include <unordered_map>
#include <utility>

#include "storage/errors/errors.h"
#include "storage/live_data/live_data_id.h"
#include "storage/live_data/live_data_rollups.h"
#include "storage/postgres/binary_copy.h"
#include "storage/postgres/sql_errors.h"

namespace energysites::storage {
namespace {

using Verdict = EntryInserter::Verdict;

// From about this number of entries on, COPY is no slower than INSERT.
constexpr ptrdiff_t kMinCopyRows = 100;

// Locks sites in the order of their ids, so that two transactions cannot wait for each other.
constexpr Statement kLockSites = {"lock_sites", R"sql(
  SELECT id, now() FROM sites WHERE id = ANY($1::bigint[]) AND delete_time IS NULL
  ORDER BY id FOR KEY SHARE
)sql"};

// Finds the sites that kLockSites has locked, and locks others as it does; but skips those that
// another transaction has locked, as a deletion does.
constexpr Statement kInsertEntries = {"insert_live_data", R"sql(
  WITH site AS MATERIALIZED (
    SELECT id FROM sites WHERE id = ANY($1::bigint[]) AND delete_time IS NULL
    ORDER BY id FOR KEY SHARE SKIP LOCKED
  ), invalidation AS (
    INSERT INTO live_data_dirty_buckets (site_id, bucket)
    SELECT stale.site_id, stale.bucket
    FROM unnest($11::bigint[], $12::timestamptz[]) AS stale (site_id, bucket)
    JOIN site ON site.id = stale.site_id
  )
  INSERT INTO live_data (id, site_id, dt_stamp, soc, load_kwh, net_load_kwh,
                         pv_notification, bio_notification, cro_notification)
  SELECT entry.id, entry.site_id, entry.dt_stamp, entry.soc, entry.load_kwh, entry.net_load_kwh,
         entry.pv_notification, entry.bio_notification, entry.cro_notification
  FROM unnest($2::bigint[], $3::bigint[], $4::timestamptz[], $5::float8[], $6::float8[],
              $7::float8[], $8::boolean[], $9::boolean[], $10::boolean[])
    AS entry (id, site_id, dt_stamp, soc, load_kwh, net_load_kwh,
              pv_notification, bio_notification, cro_notification)
  JOIN site ON site.id = entry.site_id
  RETURNING id, create_time
)sql"};

constexpr char kCopyEntries[] = R"sql(
  COPY live_data (id, site_id, dt_stamp, soc, load_kwh, net_load_kwh,
                  pv_notification, bio_notification, cro_notification, create_time)
  FROM STDIN (FORMAT binary)
)sql";

constexpr char kCopyInvalidations[] = R"sql(
  COPY live_data_dirty_buckets (site_id, bucket) FROM STDIN (FORMAT binary)
)sql";

constexpr char kBeginPiece[] = "SAVEPOINT piece";
constexpr char kEndPiece[] = "RELEASE SAVEPOINT piece";
constexpr char kUndoPiece[] = "ROLLBACK TO SAVEPOINT piece; RELEASE SAVEPOINT piece";

struct Row {
  int64_t site_id;
  int64_t microseconds;  // dt_stamp, since 1970.
  size_t index;          // Of the entry and its verdict.
  const v1::LiveDataEntry* entry;
  int64_t month;
  int64_t id;
};

using RowIterator = std::vector<Row>::const_iterator;

// In the order of the primary key: neighbours go to the same page of its index, and share site and
// bucket.
std::vector<Row> RowsOf(const Entries& entries, const std::vector<int64_t>& numbers) {
  std::vector<Row> rows;
  rows.reserve(entries.size());
  for (size_t i = 0; i < entries.size(); ++i) {
    const auto& stamp = entries[i]->dt_stamp();
    const int64_t month = MonthOf(stamp);
    rows.push_back({entries[i]->site_id(), stamp.seconds() * 1000000 + stamp.nanos() / 1000, i,
                    entries[i], month, LiveDataId(month, numbers[i])});
  }
  std::sort(rows.begin(), rows.end(), [](const Row& a, const Row& b) {
    return std::tie(a.site_id, a.microseconds, a.index) <
           std::tie(b.site_id, b.microseconds, b.index);
  });
  return rows;
}

Array<int64_t> SitesOf(RowIterator begin, RowIterator end) {
  Array<int64_t> sites;
  for (auto row = begin; row != end; ++row) {
    if (row == begin || row->site_id != std::prev(row)->site_id) sites.Add(row->site_id);
  }
  return sites;
}

// Calls `visit` with the site and the begin of each bucket that gets entries.
template <class Visit>
void VisitBuckets(RowIterator begin, RowIterator end, Visit visit) {
  std::pair<int64_t, int64_t> last;
  for (auto row = begin; row != end; ++row) {
    const std::pair<int64_t, int64_t> bucket = {row->site_id, BucketOf(row->microseconds)};
    if (row == begin || bucket != last) {
      visit(row->site_id, Moment::FromUnixMicroseconds(bucket.second));
    }
    last = bucket;
  }
}

// One call of InsertEntries.
class Insertion {
 public:
  Insertion(pqxx::transaction_base& tx, Connection& connection, const InsertOptions& options,
            std::vector<Verdict>& verdicts)
      : tx_(tx), connection_(connection), options_(options), verdicts_(verdicts) {}

  // Removes the rows that are not to be stored, and gives them their verdict.
  void LockSites(std::vector<Row>& rows) {
    Array<int64_t> wanted = SitesOf(rows.begin(), rows.end());
    const Rows locked = Query(tx_, kLockSites, {wanted});
    if (locked.size() > 0) now_ = locked.Stamp(0, 1);
    // Both are in the order of the sites.
    int next = 0;
    const auto stored = std::remove_if(rows.begin(), rows.end(), [&](const Row& row) {
      while (next < locked.size() && locked.Int64(next, 0) < row.site_id) ++next;
      if (next == locked.size() || locked.Int64(next, 0) != row.site_id) {
        verdicts_[row.index] = SiteNotFound(row.site_id);
      } else if (options_.expired_months.count(row.month) > 0) {
        verdicts_[row.index] = EntryNoLongerKept();
      } else {
        return false;
      }
      return true;
    });
    rows.erase(stored, rows.end());
  }

  void Insert(RowIterator begin, RowIterator end) {
    if (begin == end) return;
    if (options_.is_entry_error == nullptr) return InsertPiece(begin, end);
    absl::Status error;
    tx_.exec0(kBeginPiece);
    try {
      InsertPiece(begin, end);
      tx_.exec0(kEndPiece);
      return;
    } catch (const pqxx::sql_error&) {
      error = StatusFromException();
      if (HaveMonthsChanged(error) || !options_.is_entry_error(error)) throw;
    }
    tx_.exec0(kUndoPiece);
    if (end - begin == 1) {
      verdicts_[begin->index] = error;
      return;
    }
    const auto middle = begin + (end - begin) / 2;
    Insert(begin, middle);
    Insert(middle, end);
  }

 private:
  void InsertPiece(RowIterator begin, RowIterator end) {
    if (options_.skip_locked_sites || end - begin < kMinCopyRows) {
      InsertByUnnest(begin, end);
    } else {
      Copy(begin, end);
    }
  }

  void InsertByUnnest(RowIterator begin, RowIterator end) {
    Array<int64_t> ids, site_ids, stale_site_ids;
    Array<Moment> stamps, stale_buckets;
    Array<double> socs, loads, net_loads;
    Array<bool> pvs, bios, cros;
    std::unordered_map<int64_t, size_t> index_of_id;
    for (auto row = begin; row != end; ++row) {
      const v1::LiveDataEntry& entry = *row->entry;
      index_of_id.emplace(row->id, row->index);
      ids.Add(row->id);
      site_ids.Add(row->site_id);
      stamps.Add(Moment::FromUnixMicroseconds(row->microseconds));
      socs.Add(entry.soc());
      loads.Add(entry.load_kwh());
      net_loads.Add(entry.net_load_kwh());
      pvs.Add(entry.pv_notification());
      bios.Add(entry.bio_notification());
      cros.Add(entry.cro_notification());
    }
    VisitBuckets(begin, end, [&](int64_t site_id, Moment bucket) {
      stale_site_ids.Add(site_id);
      stale_buckets.Add(bucket);
    });
    Array<int64_t> sites = SitesOf(begin, end);
    const Rows stored = Query(tx_, kInsertEntries,
                              {sites, ids, site_ids, stamps, socs, loads, net_loads, pvs, bios,
                               cros, stale_site_ids, stale_buckets});
    // Not every database returns the rows in the order given.
    for (int i = 0; i < stored.size(); ++i) {
      const int64_t id = stored.Int64(i, 0);
      verdicts_[index_of_id.at(id)] = StoredEntry{id, stored.Stamp(i, 1)};
    }
    if (options_.skip_locked_sites || stored.size() == end - begin) return;
    // A deletion can set delete_time although the site is locked FOR KEY SHARE.
    for (auto row = begin; row != end; ++row) {
      if (!verdicts_[row->index].ok()) verdicts_[row->index] = SiteNotFound(row->site_id);
    }
  }

  void Copy(RowIterator begin, RowIterator end) {
    BinaryCopyIn entries(connection_, kCopyEntries);
    for (auto row = begin; row != end; ++row) {
      const v1::LiveDataEntry& entry = *row->entry;
      entries.AddRow(row->id, row->site_id, Moment::FromUnixMicroseconds(row->microseconds),
                     entry.soc(), entry.load_kwh(), entry.net_load_kwh(), entry.pv_notification(),
                     entry.bio_notification(), entry.cro_notification(), now_);
      verdicts_[row->index] = StoredEntry{row->id, now_};
    }
    entries.Finish();
    BinaryCopyIn invalidations(connection_, kCopyInvalidations);
    VisitBuckets(begin, end,
                 [&](int64_t site_id, Moment bucket) { invalidations.AddRow(site_id, bucket); });
    invalidations.Finish();
  }

  pqxx::transaction_base& tx_;
  Connection& connection_;
  const InsertOptions& options_;
  std::vector<Verdict>& verdicts_;
  Moment now_;  // The time of the transaction, once the sites are locked.
};

}  // namespace

ValidEntries::ValidEntries(const google::protobuf::RepeatedPtrField<v1::LiveDataEntry>& sent,
                           const EntryErrors& invalid) {
  entries.reserve(sent.size());
  indexes.reserve(sent.size());
  for (int i = 0; i < sent.size(); ++i) {
    if (!invalid.empty() && invalid.count(i) > 0) continue;
    entries.push_back(&sent[i]);
    indexes.push_back(i);
  }
}

bool HaveMonthsChanged(const absl::Status& status) {
  return IsMissingPartition(status) || IsEntryNoLongerKept(status);
}

Statements EntryInserter::AllStatements() {
  Statements statements = SharedInsertState::AllStatements();
  statements.insert(statements.end(), {&kLockSites, &kInsertEntries});
  return statements;
}

std::vector<Verdict> EntryInserter::InsertEntries(pqxx::transaction_base& tx,
                                                  const Entries& entries,
                                                  const InsertOptions& options) {
  std::vector<Verdict> verdicts(entries.size(), Unfinished());
  if (entries.empty()) return verdicts;
  std::vector<Row> rows = RowsOf(entries, state_.TakeNumbers(tx, entries.size()));
  Insertion insertion(tx, session_.connection(), options, verdicts);
  if (!options.skip_locked_sites) insertion.LockSites(rows);
  insertion.Insert(rows.cbegin(), rows.cend());
  return verdicts;
}

Months EntryInserter::MonthsOf(const Entries& entries) {
  Months months;
  for (const v1::LiveDataEntry* entry : entries) months.insert(MonthOf(entry->dt_stamp()));
  return months;
}

}  // namespace energysites::storage
