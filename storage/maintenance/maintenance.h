// The periodic maintenance of a database.
#ifndef STORAGE_MAINTENANCE_MAINTENANCE_H_
#define STORAGE_MAINTENANCE_MAINTENANCE_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "storage/postgres/session.h"
#include "storage/postgres/statement.h"

namespace energysites::storage {

Statements MaintenanceStatements();

struct MaintenanceOptions {
  absl::Duration request_id_ttl;
  absl::Duration ingest_session_ttl;
  // Months wholly older than this are dropped. See ApplyRetention.
  absl::Duration live_data_retention = absl::InfiniteDuration();
};

// One kind of work. Several processes may run it at once.
struct MaintenanceStep {
  const char* name;
  // Returns what was done, as text for operators; empty if there was nothing to do.
  std::function<absl::StatusOr<std::string>(Session&)> run;
  // Returns how much work is left; null for steps that do not report it.
  std::function<absl::StatusOr<int64_t>(Session&)> waiting = nullptr;
};

// The steps that the app role may run: recomputes rollups, makes connections see new partitions,
// finishes interrupted deletions of sites, deletes old request_ids and ingest sessions.
std::vector<MaintenanceStep> RowMaintenance(const MaintenanceOptions& options);

// The steps that only the owner may run: creates, moves and drops the partitions of months.
std::vector<MaintenanceStep> TableMaintenance(const MaintenanceOptions& options);

// The settings of a session for maintenance: it waits for locks for a short time only, so that
// calls do not wait behind it.
SessionOptions MaintenanceSession(const DsnSource& dsn, SilenceWatch& silence_watch);

// Whether a step that failed with `status` was blocked by other transactions and continues with its
// next run.
bool IsPostponed(const absl::Status& status);

// Takes the lock of the process that does `work`, which `session` holds until its connection ends.
// Returns false if another session holds it.
absl::StatusOr<bool> TryLead(Session& session, const std::string& work);

}  // namespace energysites::storage

#endif  // STORAGE_MAINTENANCE_MAINTENANCE_H_
