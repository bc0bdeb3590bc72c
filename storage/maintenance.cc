#include "storage/maintenance.h"

#include <cstdint>

#include "absl/strings/str_cat.h"
#include "storage/live_data_months.h"
#include "storage/live_data_rollups.h"
#include "storage/write_requests.h"

namespace energysites::storage {
namespace {

constexpr int kSessionsAtOnce = 1000;
// Of one step, so that the others get their turn.
constexpr int kMostParts = 100;

constexpr Statement kTryLead = {"try_lead", R"sql(
  SELECT pg_try_advisory_lock(hashtextextended('energy-sites:maintenance:' || $1, 0)) AS leads
)sql"};

// Skips those that are in use.
constexpr Statement kForgetIngestSessions = {"forget_ingest_sessions", R"sql(
  DELETE FROM ingest_sessions AS session
  USING (SELECT owner, session FROM ingest_sessions
         WHERE update_time < now() - $1::bigint * interval '1 millisecond'
         ORDER BY update_time LIMIT $2 FOR UPDATE SKIP LOCKED) AS old
  WHERE session.owner = old.owner AND session.session = old.session
)sql"};

absl::StatusOr<int64_t> ForgetIngestSessions(Session& session, absl::Duration ttl) {
  return session.Transact([&](pqxx::work& tx) -> absl::StatusOr<int64_t> {
    return tx
        .exec_prepared(kForgetIngestSessions.name, absl::ToInt64Milliseconds(ttl), kSessionsAtOnce)
        .affected_rows();
  });
}

std::string Said(const char* done, int64_t count) {
  return count == 0 ? "" : absl::StrCat(done, " ", count);
}

// Runs `part`, which does up to `limit` in a transaction, until there is no more of it for now.
template <class Part>
absl::StatusOr<std::string> InParts(const char* done, int limit, Part part) {
  int64_t sum = 0;
  for (int i = 0; i < kMostParts; ++i) {
    const absl::StatusOr<int64_t> count = part();
    if (!count.ok()) return count.status();
    sum += *count;
    if (*count < limit) break;
  }
  return Said(done, sum);
}

}  // namespace

Statements MaintenanceStatements() { return {&kTryLead, &kForgetIngestSessions}; }

std::vector<MaintenanceStep> RowMaintenance(const MaintenanceOptions& options) {
  return {
      {"rollups",
       [](Session& session) -> absl::StatusOr<std::string> {
         const absl::StatusOr<int64_t> settled = RefoldDirtyBuckets(session);
         if (!settled.ok()) return settled.status();
         return Said("refolded buckets:", *settled);
       },
       CountDirtyBuckets},
      {"request_ids",
       [ttl = options.request_id_ttl](Session& session) {
         return InParts("forgot request_ids:", kRequestsForgottenAtOnce,
                        [&] { return ForgetRequests(session, ttl); });
       }},
      {"ingest_sessions",
       [ttl = options.ingest_session_ttl](Session& session) {
         return InParts("forgot ingest sessions:", kSessionsAtOnce,
                        [&] { return ForgetIngestSessions(session, ttl); });
       }},
  };
}

std::vector<MaintenanceStep> TableMaintenance(const MaintenanceOptions& options) {
  return {
      {"window", MoveWindow},
      {"months_ahead", MakeMonthsAhead},
      {"retention", [retention = options.live_data_retention](
                        Session& session) { return RefuseOldEntries(session, retention); }},
      {"old_months", DropOldMonths},
      {"past_entries", DeletePastEntries},
  };
}

SessionOptions MaintenanceSession(const DsnSource& dsn, SilenceWatch& silence_watch) {
  SessionOptions options;
  options.silence_watch = &silence_watch;
  options.dsn = dsn;
  options.lock_timeout = absl::Seconds(1);
  // The one by which it leads.
  options.holds_locks = true;
  return options;
}

bool IsPutOff(const absl::Status& status) {
  return absl::IsAborted(status) || absl::IsDeadlineExceeded(status);
}

absl::StatusOr<bool> TryLead(Session& session, const std::string& work) {
  return session.Transact([&](pqxx::work& tx) -> absl::StatusOr<bool> {
    return tx.exec_prepared1(kTryLead.name, work)["leads"].as<bool>();
  });
}

}  // namespace energysites::storage
