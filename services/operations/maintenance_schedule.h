// Runs maintenance in the background, in only one of the processes that use a database.
#ifndef SERVICES_OPERATIONS_MAINTENANCE_SCHEDULE_H_
#define SERVICES_OPERATIONS_MAINTENANCE_SCHEDULE_H_

#include <condition_variable>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "prometheus/counter.h"
#include "prometheus/gauge.h"
#include "prometheus/registry.h"
#include "storage/maintenance/maintenance.h"
#include "storage/postgres/session.h"

namespace energysites {

// Has its own thread and connection. One process is the leader, elected with a lock held by its
// connection. It runs the steps every `interval`; the other processes try to become the leader in
// the same interval. A failed step is logged, counted and retried in the next round.
class MaintenanceSchedule {
 public:
  // `work` is the name of the steps, the same in all processes. Steps run only while `may_run`,
  // which must be thread-safe, returns true. `silence_watch` and `registry` must outlive this
  // object.
  MaintenanceSchedule(std::string work, const storage::DsnSource& dsn,
                      storage::SilenceWatch& silence_watch,
                      std::vector<storage::MaintenanceStep> steps, absl::Duration interval,
                      std::function<bool()> may_run, prometheus::Registry& registry);
  // Stops the running step, also if the database does not respond.
  ~MaintenanceSchedule();
  MaintenanceSchedule(const MaintenanceSchedule&) = delete;
  MaintenanceSchedule& operator=(const MaintenanceSchedule&) = delete;

 private:
  storage::SessionOptions SessionOptions(const storage::DsnSource& dsn,
                                         storage::SilenceWatch& silence_watch);
  void Repeat();
  void RunSteps();
  void Run(const storage::MaintenanceStep& step);
  void UpdateWaiting(const storage::MaintenanceStep& step);
  // Returns whether this process is the leader; tries to become the leader if not.
  bool TryLead();
  void SetLeads(bool leads);
  void Count(const char* step, const char* outcome);
  void Failed(const char* step, const absl::Status& status);

  const std::string work_;
  const std::vector<storage::MaintenanceStep> steps_;
  const absl::Duration interval_;
  const std::function<bool()> may_run_;
  prometheus::Family<prometheus::Counter>& runs_;
  prometheus::Gauge& leader_;
  prometheus::Family<prometheus::Gauge>& waiting_;
  prometheus::Counter& clock_jumps_;
  storage::Session session_;
  bool leads_ = false;  // Until the connection of `session_` is lost.
  std::mutex mutex_;
  std::condition_variable changed_;
  bool stopping_ = false;
  bool ended_ = false;
  std::thread thread_;
};

}  // namespace energysites

#endif  // SERVICES_OPERATIONS_MAINTENANCE_SCHEDULE_H_
