// Runs maintenance beside the calls, in one of all the processes on a database.
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

// Has a thread and a connection of its own. The process whose connection leads runs the steps every
// `interval`; the others ask as often whether it is gone. A failed step is logged and counted, and
// is tried again next time; nothing else depends on it.
class MaintenanceSchedule {
 public:
  // `work` names what the steps do, among all processes. Runs only while `may_run` says so, asked
  // from any thread. The watch and the registry outlive it.
  MaintenanceSchedule(std::string work, const storage::DsnSource& dsn,
                      storage::SilenceWatch& silence_watch,
                      std::vector<storage::MaintenanceStep> steps, absl::Duration interval,
                      std::function<bool()> may_run, prometheus::Registry& registry);
  // Stops the step under way, whatever the database does.
  ~MaintenanceSchedule();
  MaintenanceSchedule(const MaintenanceSchedule&) = delete;
  MaintenanceSchedule& operator=(const MaintenanceSchedule&) = delete;

 private:
  storage::SessionOptions SessionOptions(const storage::DsnSource& dsn,
                                         storage::SilenceWatch& silence_watch);
  void Repeat();
  void RunSteps();
  void Run(const storage::MaintenanceStep& step);
  void TellWaiting(const storage::MaintenanceStep& step);
  // Whether this process leads, maybe from now on.
  bool Leads();
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
  bool leads_ = false;  // While the session's connection lasts.
  std::mutex mutex_;
  std::condition_variable changed_;
  bool stopping_ = false;
  bool ended_ = false;
  std::thread thread_;
};

}  // namespace energysites

#endif  // SERVICES_OPERATIONS_MAINTENANCE_SCHEDULE_H_
