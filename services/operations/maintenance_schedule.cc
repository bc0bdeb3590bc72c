#include "services/operations/maintenance_schedule.h"

#include <chrono>
#include <cstdint>
#include <utility>

#include "services/operations/log.h"
#include "storage/errors/errors.h"
#include "storage/maintenance/live_data_retention.h"
#include "storage/postgres/sql_errors.h"

namespace energysites {

MaintenanceSchedule::MaintenanceSchedule(std::string work, const storage::DsnSource& dsn,
                                         storage::SilenceWatch& silence_watch,
                                         std::vector<storage::MaintenanceStep> steps,
                                         absl::Duration interval, std::function<bool()> may_run,
                                         prometheus::Registry& registry)
    : work_(std::move(work)),
      steps_(std::move(steps)),
      interval_(interval),
      may_run_(std::move(may_run)),
      runs_(prometheus::BuildCounter()
                .Name("energy_sites_maintenance_runs_total")
                .Help("Maintenance steps that this process ran, by outcome: done, postponed "
                      "(other transactions use the same tables), failed.")
                .Register(registry)),
      leader_(prometheus::BuildGauge()
                  .Name("energy_sites_maintenance_leader")
                  .Help("1 if this process is the leader for this work.")
                  .Register(registry)
                  .Add({{"work", work_}})),
      waiting_(
          prometheus::BuildGauge()
              .Name("energy_sites_maintenance_waiting")
              .Help("Work that remained after the last run of a maintenance step, if this process "
                    "is the leader: for rollups, the stale buckets to recompute.")
              .Register(registry)),
      clock_jumps_(prometheus::BuildCounter()
                       .Name("energy_sites_maintenance_clock_jumps_total")
                       .Help("Runs of retention that found a clock jump or different clocks and "
                             "dropped nothing.")
                       .Register(registry)
                       .Add({})),
      session_(SessionOptions(dsn, silence_watch)) {
  // Export zeros from the start, so that the first failure is an increase.
  for (const char* outcome : {"done", "postponed", "failed"}) {
    for (const storage::MaintenanceStep& step : steps_) {
      runs_.Add({{"step", step.name}, {"outcome", outcome}});
    }
  }
  thread_ = std::thread([this] { Repeat(); });
}

MaintenanceSchedule::~MaintenanceSchedule() {
  constexpr std::chrono::milliseconds kCancelPause(50);
  const auto limit = std::chrono::steady_clock::now() + storage::CancelRequest::kTimeout;
  {
    std::unique_lock<std::mutex> lock(mutex_);
    stopping_ = true;
    changed_.notify_all();
    // Repeat, because a cancellation between two queries has no effect.
    while (!changed_.wait_for(lock, kCancelPause, [this] { return ended_; })) {
      lock.unlock();
      session_.Cancel();
      if (std::chrono::steady_clock::now() > limit) session_.Abandon();
      lock.lock();
    }
  }
  thread_.join();
}

storage::SessionOptions MaintenanceSchedule::SessionOptions(const storage::DsnSource& dsn,
                                                            storage::SilenceWatch& silence_watch) {
  storage::SessionOptions options = storage::MaintenanceSession(dsn, silence_watch);
  // The lock of the leader is lost with the connection.
  options.on_connection_lost = [this] { SetLeads(false); };
  return options;
}

void MaintenanceSchedule::Repeat() {
  // The first run follows soon after `may_run_` is true, independent of the interval.
  constexpr absl::Duration kPauseBeforeStart = absl::Milliseconds(100);
  std::unique_lock<std::mutex> lock(mutex_);
  while (!stopping_) {
    lock.unlock();
    const bool may_run = may_run_();
    if (may_run && TryLead()) RunSteps();
    lock.lock();
    const absl::Duration pause = may_run ? interval_ : kPauseBeforeStart;
    changed_.wait_for(lock, absl::ToChronoMilliseconds(pause), [this] { return stopping_; });
  }
  ended_ = true;
  changed_.notify_all();
}

void MaintenanceSchedule::RunSteps() {
  for (const storage::MaintenanceStep& step : steps_) {
    Run(step);
    if (leads_ && step.waiting != nullptr) UpdateWaiting(step);
    if (!leads_) return;
  }
}

void MaintenanceSchedule::Run(const storage::MaintenanceStep& step) {
  const absl::StatusOr<std::string> done = step.run(session_);
  if (!done.ok()) return Failed(step.name, done.status());
  Count(step.name, "done");
  if (!done->empty()) {
    Log(spdlog::level::info, "maintenance", {{"step", step.name}, {"done", *done}});
  }
}

void MaintenanceSchedule::UpdateWaiting(const storage::MaintenanceStep& step) {
  const absl::StatusOr<int64_t> waiting = step.waiting(session_);
  if (!waiting.ok()) return Failed(step.name, waiting.status());
  waiting_.Add({{"step", step.name}}).Set(static_cast<double>(*waiting));
}

bool MaintenanceSchedule::TryLead() {
  if (leads_) return true;
  session_.Begin();
  const absl::StatusOr<bool> leads = storage::TryLead(session_, work_);
  if (!leads.ok()) Failed("leader", leads.status());
  SetLeads(leads.ok() && *leads);
  return leads_;
}

void MaintenanceSchedule::SetLeads(bool leads) {
  if (leads && !leads_) Log(spdlog::level::info, "maintenance leader", {{"work", work_}});
  leads_ = leads;
  leader_.Set(leads ? 1 : 0);
  if (leads) return;
  // The new leader reports the value.
  for (const storage::MaintenanceStep& step : steps_) {
    if (step.waiting != nullptr) waiting_.Add({{"step", step.name}}).Set(0);
  }
}

void MaintenanceSchedule::Count(const char* step, const char* outcome) {
  runs_.Add({{"step", step}, {"outcome", outcome}}).Increment();
}

void MaintenanceSchedule::Failed(const char* step, const absl::Status& status) {
  if (absl::IsCancelled(status)) return;
  if (storage::IsClockJump(status)) clock_jumps_.Increment();
  const bool postponed = storage::IsPostponed(status);
  Count(step, postponed ? "postponed" : "failed");
  Log(postponed ? spdlog::level::info : spdlog::level::err,
      postponed ? "maintenance postponed" : "maintenance failed",
      {{"step", step}, {"fault", storage::FaultText(status)}});
}

}  // namespace energysites
