#include "storage/maintenance/live_data_months.h"

#include <cstdint>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "google/protobuf/empty.pb.h"
#include "storage/errors/errors.h"
#include "storage/live_data/live_data_rollups.h"
#include "storage/postgres/portions.h"
#include "storage/postgres/query.h"
#include "storage/postgres/sql_errors.h"

namespace energysites::storage {
namespace {

using google::protobuf::Empty;

constexpr int kEntriesAtOnce = 5000;

constexpr Statement kFindMissingMonths = {"find_missing_months", R"sql(
  SELECT month, to_char(month, 'YYYY-MM-DD')
  FROM generate_series(date_trunc('month', now()), date_trunc('month', now()) + interval '3 months',
                       interval '1 month') AS month
  WHERE month < (SELECT end_month FROM live_data_window)
    AND to_regclass('public.live_data_' || to_char(month, 'YYYY_MM')) IS NULL
  ORDER BY month
)sql"};

constexpr Statement kMakeMonthAhead = {"make_month_ahead", R"sql(
  SELECT make_live_data_month($1)
)sql"};

constexpr Statement kMoveWindow = {"move_live_data_window", R"sql(
  SELECT move_live_data_window()::text
)sql"};

// A month is attached to live_data or live_data_future, then its detaching is pending, then it has
// no parent. While one is pending, no other one of its parent can be detached, so it comes first.
constexpr Statement kFindOldMonths = {"find_old_months", R"sql(
  SELECT month.relname::text AS month, parent.relname::text AS parent,
         to_char(to_date(right(month.relname, 7), 'YYYY_MM') + interval '1 month', 'YYYY-MM-DD')
           AS month_end,
         coalesce(inherits.inhdetachpending, false) AS pending
  FROM pg_class AS month
  LEFT JOIN pg_inherits AS inherits ON inherits.inhrelid = month.oid
  LEFT JOIN pg_class AS parent ON parent.oid = inherits.inhparent
  WHERE month.relnamespace = 'public'::regnamespace AND month.relkind = 'r'
    AND month.relname ~ '^live_data_[0-9]{4}_[0-9]{2}$'
    AND to_date(right(month.relname, 7), 'YYYY_MM') + interval '1 month'
        <= (SELECT refused_before FROM live_data_window)
  ORDER BY pending DESC, month
)sql"};

// Deletions of entries can make rollups stale after new entries are refused.
constexpr Statement kFreezeRollups = {"freeze_rollups", R"sql(
  UPDATE live_data_window SET kept_from = $1::text::timestamptz
  WHERE kept_from < $1::text::timestamptz AND refused_before >= $1::text::timestamptz
    AND NOT EXISTS (SELECT FROM live_data_dirty_buckets
                    WHERE bucket >= kept_from AND bucket < $1::text::timestamptz)
)sql"};
constexpr Statement kAreRollupsFrozen = {"are_rollups_frozen", R"sql(
  SELECT kept_from >= $1::text::timestamptz AS frozen FROM live_data_window
)sql"};

// Up to where rollups must be frozen before the entries before the cutoff are deleted from
// live_data_past. No row if there are no such entries.
constexpr Statement kFindPastEntries = {"find_past_entries", R"sql(
  SELECT least(refused_before, first_month)::text AS moment FROM live_data_window
  WHERE EXISTS (SELECT FROM live_data_past WHERE dt_stamp < refused_before)
)sql"};

constexpr Statement kDeletePastEntries = {"delete_past_entries", R"sql(
  DELETE FROM live_data_past WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM live_data_past WHERE dt_stamp < (SELECT kept_from FROM live_data_window)
    LIMIT $1 FOR UPDATE SKIP LOCKED))
)sql"};

// Held while months are dropped, because two processes must not detach the same month.
constexpr Statement kLockDropping = {"lock_dropping_of_months", R"sql(
  SELECT pg_try_advisory_lock(hashtextextended('energy-sites:drop-months', 0)) AS locked
)sql"};
constexpr Statement kUnlockDropping = {"unlock_dropping_of_months", R"sql(
  SELECT pg_advisory_unlock(hashtextextended('energy-sites:drop-months', 0))
)sql"};

struct OldMonth {
  std::string table;
  std::string parent;  // Empty once it is detached.
  std::string end;
  bool pending;
};

absl::StatusOr<std::vector<OldMonth>> FindOldMonths(Session& session) {
  return session.Transact([](pqxx::work& tx) -> absl::StatusOr<std::vector<OldMonth>> {
    std::vector<OldMonth> months;
    const Rows rows = Query(tx, kFindOldMonths);
    for (int row = 0; row < rows.size(); ++row) {
      months.push_back({tx.quote_name(rows.String(row, 0)),
                        rows.IsNull(row, 1) ? "" : tx.quote_name(rows.String(row, 1)),
                        rows.String(row, 2), rows.Bool(row, 3)});
    }
    return months;
  });
}

// Recomputes the stale rollups before `moment`, whose entries are about to be dropped, and freezes
// them. From then on the cutoff cannot move back before `moment`.
absl::Status FreezeRollups(Session& session, const std::string& moment) {
  constexpr int kTries = 3;
  for (int i = 0; i < kTries; ++i) {
    const auto frozen = session.Transact([&](pqxx::work& tx) -> absl::StatusOr<bool> {
      Query(tx, kFreezeRollups, {moment});
      return Query(tx, kAreRollupsFrozen, {moment}).Bool(0, 0);
    });
    if (!frozen.ok()) return frozen.status();
    if (*frozen) return absl::OkStatus();
    const absl::Status recomputed = RecomputeStaleBuckets(session).status();
    if (!recomputed.ok()) return recomputed;
  }
  return absl::AbortedError(absl::StrCat("rollups before ", moment, " are not up to date yet"));
}

absl::Status Detach(Session& session, const OldMonth& month) {
  return session
      .Autocommit([&](pqxx::nontransaction& tx) -> absl::StatusOr<Empty> {
        tx.exec(absl::StrCat("ALTER TABLE public.", month.parent, " DETACH PARTITION public.",
                             month.table, month.pending ? " FINALIZE" : " CONCURRENTLY"));
        return Empty();
      })
      .status();
}

// Because of the foreign key, DROP TABLE locks sites, and all writers wait behind it: hence the
// short timeout.
absl::Status Drop(Session& session, const OldMonth& month) {
  return session
      .Transact([&](pqxx::work& tx) -> absl::StatusOr<Empty> {
        tx.exec("SET LOCAL lock_timeout = '200ms'");
        tx.exec(absl::StrCat("DROP TABLE public.", month.table));
        return Empty();
      })
      .status();
}

absl::StatusOr<std::string> DropMonths(Session& session) {
  const auto months = FindOldMonths(session);
  if (!months.ok()) return months.status();
  std::vector<std::string> dropped;
  absl::Status status;
  for (const OldMonth& month : *months) {
    status = FreezeRollups(session, month.end);
    if (status.ok() && !month.parent.empty()) status = Detach(session, month);
    if (status.ok()) status = Drop(session, month);
    if (!status.ok()) break;
    dropped.push_back(month.table);
  }
  const std::string done =
      dropped.empty() ? "" : absl::StrCat("dropped ", absl::StrJoin(dropped, ", "));
  if (status.ok()) return done;
  // Both what was done and why the rest was not.
  return done.empty()
             ? status
             : absl::Status(status.code(), absl::StrCat(done, "; then: ", FaultText(status)));
}

}  // namespace

Statements LiveDataMonthStatements() {
  return {&kFindMissingMonths, &kMakeMonthAhead,   &kMoveWindow,      &kFindOldMonths,
          &kFreezeRollups,     &kAreRollupsFrozen, &kFindPastEntries, &kDeletePastEntries,
          &kLockDropping,      &kUnlockDropping};
}

absl::StatusOr<std::string> MakeMonthsAhead(Session& session) {
  struct Month {
    Moment begin;
    std::string name;
  };
  const auto missing = session.Transact([](pqxx::work& tx) -> absl::StatusOr<std::vector<Month>> {
    std::vector<Month> months;
    const Rows rows = Query(tx, kFindMissingMonths);
    for (int row = 0; row < rows.size(); ++row) {
      months.push_back({rows.Stamp(row, 0), rows.String(row, 1)});
    }
    return months;
  });
  if (!missing.ok()) return missing.status();
  std::vector<std::string> made;
  for (const Month& month : *missing) {
    const auto result = session.Transact([&](pqxx::work& tx) -> absl::StatusOr<Empty> {
      Query(tx, kMakeMonthAhead, {month.begin});
      return Empty();
    });
    if (!result.ok()) return result.status();
    made.push_back(month.name);
  }
  return made.empty() ? "" : absl::StrCat("made the months of ", absl::StrJoin(made, ", "));
}

absl::StatusOr<std::string> MoveWindow(Session& session) {
  std::string last;
  while (true) {
    const auto month = session.Transact([](pqxx::work& tx) -> absl::StatusOr<std::string> {
      const Rows rows = Query(tx, kMoveWindow);
      return rows.IsNull(0, 0) ? "" : rows.String(0, 0);
    });
    if (!month.ok()) return month.status();
    if (month->empty()) break;
    last = *month;
  }
  return last.empty() ? "" : absl::StrCat("moved the window on, its last month is that of ", last);
}

absl::StatusOr<std::string> DropOldMonths(Session& session) {
  const auto locked = session.Transact(
      [](pqxx::work& tx) -> absl::StatusOr<bool> { return Query(tx, kLockDropping).Bool(0, 0); });
  if (!locked.ok()) return locked.status();
  if (!*locked) return absl::AbortedError("another process is dropping months");
  const auto dropped = DropMonths(session);
  // If this fails, the connection is lost, and the lock with it.
  const auto unlocked = session.Transact([](pqxx::work& tx) -> absl::StatusOr<Empty> {
    Query(tx, kUnlockDropping);
    return Empty();
  });
  return dropped.ok() && !unlocked.ok() ? unlocked.status() : dropped;
}

absl::StatusOr<std::string> DeletePastEntries(Session& session) {
  const auto moment = session.Transact([](pqxx::work& tx) -> absl::StatusOr<std::string> {
    const Rows rows = Query(tx, kFindPastEntries);
    return rows.empty() ? "" : rows.String(0, 0);
  });
  if (!moment.ok()) return moment.status();
  if (moment->empty()) return "";
  const absl::Status frozen = FreezeRollups(session, *moment);
  if (!frozen.ok()) return frozen;
  const auto deleted = InPortions(kEntriesAtOnce, [&](int64_t limit) {
    return session.Transact([&](pqxx::work& tx) -> absl::StatusOr<int64_t> {
      return Query(tx, kDeletePastEntries, {limit}).affected();
    });
  });
  if (!deleted.ok()) return deleted.status();
  return *deleted == 0 ? "" : absl::StrCat("deleted ", *deleted, " entries");
}

}  // namespace energysites::storage
