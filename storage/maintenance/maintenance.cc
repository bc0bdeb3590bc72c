#include "storage/maintenance/maintenance.h"

#include <cstdint>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "storage/idempotency/write_requests.h"
#include "storage/live_data/live_data_rollups.h"
#include "storage/maintenance/live_data_months.h"
#include "storage/maintenance/live_data_retention.h"
#include "storage/postgres/portions.h"
#include "storage/postgres/query.h"
#include "storage/sites/site_repository.h"

namespace energysites::storage {
namespace {

constexpr int kRequestsAtOnce = 5000;
constexpr int kSessionsAtOnce = 1000;
// Of one run of a step, so that the others run in time.
constexpr int kMaxPortions = 100;

constexpr Statement kTryLead = {"try_lead", R"sql(
  SELECT pg_try_advisory_lock(hashtextextended('energy-sites:maintenance:' || $1, 0)) AS leads
)sql"};

// $3 is the age limit by this machine's clock: if only one of the clocks is ahead, nothing is
// deleted. Skips sessions that are in use.
constexpr Statement kForgetIngestSessions = {"forget_ingest_sessions", R"sql(
  DELETE FROM ingest_sessions AS session
  USING (SELECT owner, session FROM ingest_sessions
         WHERE update_time < least(now() - $1::bigint * interval '1 millisecond',
                                   to_timestamp($3::bigint / 1000.0))
         ORDER BY update_time LIMIT $2 FOR UPDATE SKIP LOCKED) AS old
  WHERE session.owner = old.owner AND session.session = old.session
)sql"};

constexpr Statement kRenewPartitionLists = {"renew_partition_lists", R"sql(
  SELECT renew_partition_lists()
)sql"};

absl::StatusOr<std::string> RenewPartitionLists(Session& session) {
  return session.Transact([](pqxx::work& tx) -> absl::StatusOr<std::string> {
    Query(tx, kRenewPartitionLists);
    return "";
  });
}

absl::StatusOr<int64_t> ForgetIngestSessions(Session& session, absl::Duration ttl, int64_t limit) {
  return session.Transact([&](pqxx::work& tx) -> absl::StatusOr<int64_t> {
    return Query(tx, kForgetIngestSessions,
                 {absl::ToInt64Milliseconds(ttl), limit, absl::ToUnixMillis(absl::Now() - ttl)})
        .affected();
  });
}

std::string CountText(const char* done, int64_t count) {
  return count == 0 ? "" : absl::StrCat(done, " ", count);
}

absl::StatusOr<std::string> Report(const char* done, const absl::StatusOr<int64_t>& count) {
  return count.ok() ? absl::StatusOr<std::string>(CountText(done, *count)) : count.status();
}

// A site whose rows are locked by other transactions does not delay the next ones.
absl::StatusOr<std::string> FinishDeletions(Session& session) {
  const absl::StatusOr<std::vector<int64_t>> sites = FindAbandonedSites(session);
  if (!sites.ok()) return sites.status();
  int64_t parts = 0;
  absl::Status failed;
  for (const int64_t site : *sites) {
    const auto continue_it = [&](int limit) -> absl::StatusOr<int64_t> {
      const absl::StatusOr<bool> has_more = ContinueDeletion(session, site, limit);
      if (!has_more.ok()) return has_more.status();
      ++parts;
      return *has_more ? limit : 0;
    };
    failed.Update(InPortions(kRowsDeletedAtOnce, continue_it, kMaxPortions).status());
  }
  return failed.ok() ? Report("parts of interrupted deletions:", parts) : failed;
}

}  // namespace

Statements MaintenanceStatements() {
  Statements all = LiveDataRetentionStatements();
  all.insert(all.end(), {&kTryLead, &kForgetIngestSessions, &kRenewPartitionLists});
  return all;
}

std::vector<MaintenanceStep> RowMaintenance(const MaintenanceOptions& options) {
  return {
      {"rollups",
       [](Session& session) -> absl::StatusOr<std::string> {
         return Report("recomputed buckets:", RecomputeStaleBuckets(session));
       },
       CountStaleBuckets},
      {"partition_lists", RenewPartitionLists},
      {"site_deletions", FinishDeletions},
      {"request_ids",
       [ttl = options.request_id_ttl](Session& session) {
         return Report(
             "forgot request_ids:",
             InPortions(
                 kRequestsAtOnce, [&](int limit) { return ForgetRequests(session, ttl, limit); },
                 kMaxPortions));
       }},
      {"ingest_sessions",
       [ttl = options.ingest_session_ttl](Session& session) {
         return Report("forgot ingest sessions:",
                       InPortions(
                           kSessionsAtOnce,
                           [&](int limit) { return ForgetIngestSessions(session, ttl, limit); },
                           kMaxPortions));
       }},
  };
}

std::vector<MaintenanceStep> TableMaintenance(const MaintenanceOptions& options) {
  return {
      {"window", MoveWindow},
      {"months_ahead", MakeMonthsAhead},
      {"retention", [retention = options.live_data_retention](
                        Session& session) { return ApplyRetention(session, retention); }},
      {"old_months", DropOldMonths},
      {"past_entries", DeletePastEntries},
  };
}

SessionOptions MaintenanceSession(const DsnSource& dsn, SilenceWatch& silence_watch) {
  SessionOptions options;
  options.silence_watch = &silence_watch;
  options.dsn = dsn;
  options.lock_timeout = absl::Seconds(1);
  // The one of TryLead.
  options.holds_locks = true;
  return options;
}

bool IsPostponed(const absl::Status& status) {
  return absl::IsAborted(status) || (absl::IsDeadlineExceeded(status) && !IsDatabaseSilent(status));
}

absl::StatusOr<bool> TryLead(Session& session, const std::string& work) {
  return session.Transact([&](pqxx::work& tx) -> absl::StatusOr<bool> {
    return Query(tx, kTryLead, {work}).Bool(0, 0);
  });
}

}  // namespace energysites::storage
