#include "storage/maintenance/live_data_retention.h"

#include <algorithm>
#include <cstdint>
#include <ctime>
#include <fstream>
#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

namespace energysites::storage {
namespace {

constexpr char kClockJumpUrl[] = "energysites/clock_jump";

// Between the two looks that apply a cutoff.
const absl::Duration kWait = absl::Hours(1);
// Clocks that are kept by NTP differ by less, and a month is long enough for it not to matter.
const absl::Duration kTolerance = absl::Minutes(5);

constexpr int kDateLength = 10;  // YYYY-MM-DD

// What is due now ($1: the retention in seconds, null for none), and the stored look.
constexpr Statement kLookAtRetention = {"look_at_retention", R"sql(
  SELECT due.cutoff::text AS cutoff,
         extract(epoch FROM now())::double precision AS database_time,
         due.cutoff > w.refused_before AS is_due,
         greatest(due.cutoff, w.kept_from) < w.refused_before AS moves_back,
         coalesce(look.retention_seconds = $1::bigint AND look.cutoff > w.refused_before, false)
           AS was_due,
         least(look.cutoff, due.cutoff)::text AS due_twice,
         extract(epoch FROM now() - look.database_time)::double precision AS elapsed,
         look.boot_id, look.boot_seconds
  FROM live_data_window AS w
  CROSS JOIN (SELECT coalesce(date_trunc('month', now() - $1::bigint * interval '1 second'),
                              '-infinity') AS cutoff) AS due
  LEFT JOIN live_data_retention_look AS look ON true
)sql"};

constexpr Statement kStoreLook = {"store_retention_look", R"sql(
  INSERT INTO live_data_retention_look
    (retention_seconds, cutoff, database_time, boot_id, boot_seconds)
  VALUES ($1, $2::text::timestamptz, now(), $3, $4)
  ON CONFLICT (only_row) DO UPDATE SET
    (retention_seconds, cutoff, database_time, boot_id, boot_seconds) =
    (excluded.retention_seconds, excluded.cutoff, excluded.database_time, excluded.boot_id,
     excluded.boot_seconds)
)sql"};

constexpr Statement kForgetLook = {"forget_retention_look", R"sql(
  DELETE FROM live_data_retention_look
)sql"};

constexpr Statement kMoveCutoff = {"move_live_data_cutoff", R"sql(
  SELECT move_live_data_cutoff($1::text::timestamptz)::date::text AS cutoff
)sql"};

// The clocks of this machine.
struct MachineTime {
  absl::Time wall = absl::Now();
  // Of the machine since it was booted; all processes on it have the same.
  std::string boot_id;
  absl::Duration since_boot;

  MachineTime() {
    std::ifstream("/proc/sys/kernel/random/boot_id") >> boot_id;
    timespec now = {};
    clock_gettime(CLOCK_BOOTTIME, &now);
    since_boot = absl::DurationFromTimespec(now);
  }
};

bool Differ(absl::Duration a, absl::Duration b) { return absl::AbsDuration(a - b) > kTolerance; }

std::string Rounded(absl::Duration duration) {
  return absl::FormatDuration(absl::Trunc(duration, absl::Seconds(1)));
}

absl::Time DatabaseTime(const pqxx::row& row) {
  return absl::UnixEpoch() + absl::Seconds(row["database_time"].as<double>());
}

// What is wrong with the clocks; empty if nothing is.
std::string FindClockFault(const pqxx::row& row, const MachineTime& machine) {
  const absl::Duration ahead = DatabaseTime(row) - machine.wall;
  if (Differ(ahead, absl::ZeroDuration())) {
    return absl::StrCat("the database's clock differs by ", Rounded(ahead),
                        " from the clock of this machine");
  }
  if (row["elapsed"].is_null()) return "";
  const absl::Duration elapsed = absl::Seconds(row["elapsed"].as<double>());
  // Of another machine only the clock is known, which agreed with the database's at that look.
  const bool same_boot = !machine.boot_id.empty() && machine.boot_id == row["boot_id"].c_str();
  const absl::Duration passed =
      same_boot ? machine.since_boot - absl::Seconds(row["boot_seconds"].as<double>())
                : std::max(elapsed, absl::ZeroDuration());
  if (!Differ(elapsed, passed)) return "";
  return absl::StrCat("the database's clock advanced by ", Rounded(elapsed), " while ",
                      Rounded(passed), " passed");
}

absl::Status ClockJump(const std::string& fault) {
  absl::Status status = absl::FailedPreconditionError(absl::StrCat(
      fault,
      "; the retention cutoff stays where it is until the clocks have agreed for an hour: "
      "synchronize the clocks of the database's machine and of this one"));
  status.SetPayload(kClockJumpUrl, absl::Cord());
  return status;
}

struct Result {
  std::string done;
  // Not the transaction's, which commits what the look found.
  absl::Status status;
};

Result LookAtRetention(pqxx::work& tx, absl::Duration retention) {
  const MachineTime machine;
  std::optional<int64_t> retention_seconds;
  if (retention != absl::InfiniteDuration()) retention_seconds = absl::ToInt64Seconds(retention);
  const pqxx::row row = tx.exec_prepared1(kLookAtRetention.name, retention_seconds);
  const auto move_cutoff = [&](const char* moment) {
    return tx.exec_prepared1(kMoveCutoff.name, row[moment].as<std::string>())["cutoff"]
        .as<std::string>();
  };
  const auto store_look = [&] {
    tx.exec_prepared0(kStoreLook.name, retention_seconds, row["cutoff"].as<std::string>(),
                      machine.boot_id, absl::ToDoubleSeconds(machine.since_boot));
  };
  if (row["moves_back"].as<bool>()) {
    tx.exec_prepared0(kForgetLook.name);
    return {absl::StrCat("accepts entries from ", move_cutoff("cutoff"), " on again"), {}};
  }
  const std::string fault = retention_seconds.has_value() ? FindClockFault(row, machine) : "";
  if (!retention_seconds.has_value() || !fault.empty()) {
    tx.exec_prepared0(kForgetLook.name);
    return {"", fault.empty() ? absl::OkStatus() : ClockJump(fault)};
  }
  const bool was_due = row["was_due"].as<bool>();
  const absl::Duration elapsed = absl::Seconds(row["elapsed"].as<double>(0));
  if (!row["is_due"].as<bool>()) {
    // The stored look stays recent: over a long time clocks differ that do not jump.
    if (row["elapsed"].is_null() || elapsed >= kWait) store_look();
    return {};
  }
  if (was_due && elapsed >= kWait) {
    const std::string cutoff = move_cutoff("due_twice");
    store_look();
    return {absl::StrCat("refuses entries before ", cutoff, " from now on"), {}};
  }
  if (!was_due) store_look();
  const absl::Duration left = was_due ? kWait - elapsed : kWait;
  return {"",
          absl::AbortedError(absl::StrCat(
              "waits until ",
              absl::FormatTime("%Y-%m-%dT%H:%M:%SZ", DatabaseTime(row) + left, absl::UTCTimeZone()),
              " for a second look at the clock; then drops months before ",
              row["cutoff"].as<std::string>().substr(0, kDateLength)))};
}

}  // namespace

Statements LiveDataRetentionStatements() {
  return {&kLookAtRetention, &kStoreLook, &kForgetLook, &kMoveCutoff};
}

absl::StatusOr<std::string> ApplyRetention(Session& session, absl::Duration retention) {
  const auto result = session.Transact(
      [&](pqxx::work& tx) -> absl::StatusOr<Result> { return LookAtRetention(tx, retention); });
  if (!result.ok()) return result.status();
  if (!result->status.ok()) return result->status;
  return result->done;
}

bool IsClockJump(const absl::Status& status) {
  return status.GetPayload(kClockJumpUrl).has_value();
}

}  // namespace energysites::storage
