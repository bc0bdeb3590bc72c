#include "storage/live_data_months.h"

#include <cstdint>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "google/protobuf/empty.pb.h"
#include "storage/live_data_rollups.h"

namespace energysites::storage {
namespace {

using google::protobuf::Empty;

constexpr int kEntriesAtOnce = 5000;

constexpr Statement kFindMissingMonths = {"find_missing_months", R"sql(
  SELECT to_char(month, 'YYYY-MM-DD') AS month
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
  SELECT move_live_data_window() AS month
)sql"};

// No row if all is refused already.
constexpr Statement kRefuseOldEntries = {"refuse_old_entries", R"sql(
  SELECT to_char(moment, 'YYYY-MM-DD') AS moment, refuse_live_data_before(moment) AS refused
  FROM (SELECT date_trunc('month', now() - $1::bigint * interval '1 second') AS moment) AS oldest
  WHERE moment > (SELECT kept_from FROM live_data_window)
)sql"};

// A month is attached to live_data or live_data_future, then pending, then stands alone; that one
// is pending keeps others of its parent from being detached, so it comes first.
constexpr Statement kFindOldMonths = {"find_old_months", R"sql(
  SELECT month.relname AS month, parent.relname AS parent,
         coalesce(inherits.inhdetachpending, false) AS pending
  FROM pg_class AS month
  LEFT JOIN pg_inherits AS inherits ON inherits.inhrelid = month.oid
  LEFT JOIN pg_class AS parent ON parent.oid = inherits.inhparent
  WHERE month.relnamespace = 'public'::regnamespace AND month.relkind = 'r'
    AND month.relname ~ '^live_data_[0-9]{4}_[0-9]{2}$'
    AND to_date(right(month.relname, 7), 'YYYY_MM') + interval '1 month'
        <= (SELECT kept_from FROM live_data_window)
  ORDER BY pending DESC, month
)sql"};

constexpr Statement kDeletePastEntries = {"delete_past_entries", R"sql(
  DELETE FROM live_data_past WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM live_data_past WHERE dt_stamp < (SELECT kept_from FROM live_data_window)
    LIMIT $1 FOR UPDATE SKIP LOCKED))
)sql"};

// Held while months are dropped: two processes would trip over each other's halves.
constexpr Statement kLockDropping = {"lock_dropping_of_months", R"sql(
  SELECT pg_try_advisory_lock(hashtextextended('energy-sites:drop-months', 0)) AS locked
)sql"};
constexpr Statement kUnlockDropping = {"unlock_dropping_of_months", R"sql(
  SELECT pg_advisory_unlock(hashtextextended('energy-sites:drop-months', 0))
)sql"};

struct OldMonth {
  std::string table;
  std::string parent;  // Empty once it is detached.
  bool pending;
};

absl::StatusOr<std::vector<OldMonth>> FindOldMonths(Session& session) {
  return session.Transact([](pqxx::work& tx) -> absl::StatusOr<std::vector<OldMonth>> {
    std::vector<OldMonth> months;
    for (const pqxx::row& row : tx.exec_prepared(kFindOldMonths.name)) {
      months.push_back({tx.quote_name(row["month"].c_str()),
                        row["parent"].is_null() ? "" : tx.quote_name(row["parent"].c_str()),
                        row["pending"].as<bool>()});
    }
    return months;
  });
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

// Its foreign key makes it lock sites, for which all writers would wait: not for long, therefore.
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
    if (!month.parent.empty()) status = Detach(session, month);
    if (status.ok()) status = Drop(session, month);
    if (!status.ok()) break;
    dropped.push_back(month.table);
  }
  if (!status.ok() && dropped.empty()) return status;
  return dropped.empty() ? "" : absl::StrCat("dropped ", absl::StrJoin(dropped, ", "));
}

}  // namespace

Statements LiveDataMonthStatements() {
  return {&kFindMissingMonths, &kMakeMonthAhead,    &kMoveWindow,   &kRefuseOldEntries,
          &kFindOldMonths,     &kDeletePastEntries, &kLockDropping, &kUnlockDropping};
}

absl::StatusOr<std::string> MakeMonthsAhead(Session& session) {
  using Months = std::vector<std::string>;
  const auto missing = session.Transact([](pqxx::work& tx) -> absl::StatusOr<Months> {
    Months months;
    for (const pqxx::row& row : tx.exec_prepared(kFindMissingMonths.name)) {
      months.push_back(row["month"].as<std::string>());
    }
    return months;
  });
  if (!missing.ok()) return missing.status();
  for (const std::string& month : *missing) {
    const auto made = session.Transact([&](pqxx::work& tx) -> absl::StatusOr<Empty> {
      tx.exec_prepared(kMakeMonthAhead.name, month);
      return Empty();
    });
    if (!made.ok()) return made.status();
  }
  return missing->empty() ? "" : absl::StrCat("made the months of ", absl::StrJoin(*missing, ", "));
}

absl::StatusOr<std::string> MoveWindow(Session& session) {
  std::string last;
  while (true) {
    const auto month = session.Transact([](pqxx::work& tx) -> absl::StatusOr<std::string> {
      return tx.exec_prepared1(kMoveWindow.name)["month"].as<std::string>("");
    });
    if (!month.ok()) return month.status();
    if (month->empty()) break;
    last = *month;
  }
  return last.empty() ? "" : absl::StrCat("moved the window on, its last month is that of ", last);
}

absl::StatusOr<std::string> RefuseOldEntries(Session& session, absl::Duration retention) {
  if (retention == absl::InfiniteDuration()) return "";
  // The first call can find rollups to refold; from then on there come no more of them, but for
  // deletions and for months that were made meanwhile.
  constexpr int kTries = 3;
  std::string moment;
  for (int i = 0; i < kTries; ++i) {
    const auto refused = session.Transact([&](pqxx::work& tx) -> absl::StatusOr<bool> {
      const pqxx::result rows =
          tx.exec_prepared(kRefuseOldEntries.name, absl::ToInt64Seconds(retention));
      if (rows.empty()) return true;
      moment = rows[0]["moment"].as<std::string>();
      return rows[0]["refused"].as<bool>();
    });
    if (!refused.ok()) return refused.status();
    if (*refused) {
      return moment.empty() ? "" : absl::StrCat("refused entries before ", moment, " from now on");
    }
    const absl::Status refolded = RefoldDirtyBuckets(session).status();
    if (!refolded.ok()) return refolded;
  }
  return absl::AbortedError(absl::StrCat("rollups before ", moment, " are not up to date yet"));
}

absl::StatusOr<std::string> DropOldMonths(Session& session) {
  const auto locked = session.Transact([](pqxx::work& tx) -> absl::StatusOr<bool> {
    return tx.exec_prepared1(kLockDropping.name)["locked"].as<bool>();
  });
  if (!locked.ok()) return locked.status();
  if (!*locked) return absl::AbortedError("another process is dropping months");
  const auto dropped = DropMonths(session);
  // Where this fails, the connection is lost and the lock with it.
  const auto unlocked = session.Transact([](pqxx::work& tx) -> absl::StatusOr<Empty> {
    tx.exec_prepared(kUnlockDropping.name);
    return Empty();
  });
  return dropped.ok() && !unlocked.ok() ? unlocked.status() : dropped;
}

absl::StatusOr<std::string> DeletePastEntries(Session& session) {
  int64_t deleted = 0;
  while (true) {
    const auto part = session.Transact([](pqxx::work& tx) -> absl::StatusOr<int64_t> {
      return tx.exec_prepared(kDeletePastEntries.name, kEntriesAtOnce).affected_rows();
    });
    if (!part.ok()) return part.status();
    deleted += *part;
    if (*part < kEntriesAtOnce) break;
  }
  return deleted == 0 ? "" : absl::StrCat("deleted ", deleted, " entries");
}

}  // namespace energysites::storage
