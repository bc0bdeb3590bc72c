// What a database needs done from time to time, beside the calls.
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

// One kind of work. May be run by several processes at once, which gains nothing and harms nothing.
struct MaintenanceStep {
  const char* name;
  // Returns what was done, for people to read; empty if there was nothing to do.
  std::function<absl::StatusOr<std::string>(Session&)> run;
  // Returns how much of it waits to be done; empty where nobody asks.
  std::function<absl::StatusOr<int64_t>(Session&)> waiting = nullptr;
};

// What the role that serves may do: rollups are refolded, connections told of new partitions,
// interrupted deletions of sites finished, old request_ids and sessions forgotten.
std::vector<MaintenanceStep> RowMaintenance(const MaintenanceOptions& options);

// What only the owner may do: months are made, moved and dropped.
std::vector<MaintenanceStep> TableMaintenance(const MaintenanceOptions& options);

// The settings of a session for maintenance: it gives way rather than let others wait for it.
SessionOptions MaintenanceSession(const DsnSource& dsn, SilenceWatch& silence_watch);

// Whether a step that failed with `status` only met other work in its way, and goes on next time.
bool IsPutOff(const absl::Status& status);

// Makes `session` the one that does `work`, until its connection ends; false if another one is.
absl::StatusOr<bool> TryLead(Session& session, const std::string& work);

}  // namespace energysites::storage

#endif  // STORAGE_MAINTENANCE_MAINTENANCE_H_
