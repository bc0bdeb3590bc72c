#include "storage/maintenance/live_data_retention.h"

#include <algorithm>
#include <cstdint>
#include <ctime>
#include <fstream>
#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "storage/postgres/query.h"

namespace energysites::storage {
namespace {

constexpr char kClockJumpUrl[] = "energysites/clock_jump";

// Between the two checks that apply a cutoff.
const absl::Duration kWait = absl::Hours(1);
// Clocks synchronized by NTP differ by less, and compared with a month it does not matter.
const absl::Duration kTolerance = absl::Minutes(5);

constexpr int kDateLength = 10;  // YYYY-MM-DD

// The cutoff that is due now ($1: the retention in seconds, null for none), and the stored check.
constexpr Statement kCheckRetention = {"check_retention", R"sql(
  SELECT due.cutoff::text AS cutoff,
         extract(epoch FROM now())::double precision AS database_time,
         due.cutoff > w.refused_before AS is_due,
         greatest(due.cutoff, w.kept_from) < w.refused_before AS moves_back,
         coalesce(stored.retention_seconds = $1::bigint AND stored.cutoff > w.refused_before, false)
           AS was_due,
         least(stored.cutoff, due.cutoff)::text AS due_twice,
         extract(epoch FROM now() - stored.database_time)::double precision AS elapsed,
         stored.boot_id, stored.boot_seconds
  FROM live_data_window AS w
  CROSS JOIN (SELECT coalesce(date_trunc('month', now() - $1::bigint * interval '1 second'),
                              '-infinity') AS cutoff) AS due
  LEFT JOIN live_data_retention_look AS stored ON true
)sql"};

constexpr Statement kStoreCheck = {"store_retention_check", R"sql(
  INSERT INTO live_data_retention_look
    (retention_seconds, cutoff, database_time, boot_id, boot_seconds)
  VALUES ($1, $2::text::timestamptz, now(), $3, $4)
  ON CONFLICT (only_row) DO UPDATE SET
    (retention_seconds, cutoff, database_time, boot_id, boot_seconds) =
    (excluded.retention_seconds, excluded.cutoff, excluded.database_time, excluded.boot_id,
     excluded.boot_seconds)
)sql"};

constexpr Statement kDeleteCheck = {"delete_retention_check", R"sql(
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

// What kCheckRetention returns. Cutoffs are texts of timestamptz.
struct Check {
  explicit Check(const Rows& rows)
      : cutoff(rows.String(0, 0)),
        database_time(absl::UnixEpoch() + absl::Seconds(rows.Double(0, 1))),
        is_due(rows.Bool(0, 2)),
        moves_back(rows.Bool(0, 3)),
        was_due(rows.Bool(0, 4)),
        due_twice(rows.String(0, 5)) {
    if (rows.IsNull(0, 6)) return;
    stored = {absl::Seconds(rows.Double(0, 6)), rows.String(0, 7),
              absl::Seconds(rows.Double(0, 8))};
  }

  std::string cutoff;
  absl::Time database_time;
  bool is_due, moves_back, was_due;
  std::string due_twice;

  // The earlier check.
  struct Stored {
    absl::Duration elapsed;  // By the database's clock.
    std::string boot_id;
    absl::Duration since_boot;
  };
  std::optional<Stored> stored;
};

// What is wrong with the clocks; empty if nothing is.
std::string FindClockFault(const Check& check, const MachineTime& machine) {
  const absl::Duration ahead = check.database_time - machine.wall;
  if (Differ(ahead, absl::ZeroDuration())) {
    return absl::StrCat("the database's clock differs by ", Rounded(ahead),
                        " from the clock of this machine");
  }
  if (!check.stored.has_value()) return "";
  const auto& [elapsed, boot_id, since_boot] = *check.stored;
  // Of another machine only the clock is known, which agreed with the database's at that check.
  const bool same_boot = !machine.boot_id.empty() && machine.boot_id == boot_id;
  const absl::Duration passed =
      same_boot ? machine.since_boot - since_boot : std::max(elapsed, absl::ZeroDuration());
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
  // Not the transaction's status: the transaction commits what the check found.
  absl::Status status;
};

Result CheckRetention(pqxx::work& tx, absl::Duration retention) {
  const MachineTime machine;
  std::optional<int64_t> retention_seconds;
  if (retention != absl::InfiniteDuration()) retention_seconds = absl::ToInt64Seconds(retention);
  const Check check(Query(tx, kCheckRetention, {retention_seconds}));
  const auto move_cutoff = [&](const std::string& cutoff) {
    return Query(tx, kMoveCutoff, {cutoff}).String(0, 0);
  };
  const auto store_check = [&] {
    Query(tx, kStoreCheck,
          {retention_seconds, check.cutoff, machine.boot_id,
           absl::ToDoubleSeconds(machine.since_boot)});
  };
  if (check.moves_back) {
    Query(tx, kDeleteCheck);
    return {absl::StrCat("accepts entries from ", move_cutoff(check.cutoff), " on again"), {}};
  }
  const std::string fault = retention_seconds.has_value() ? FindClockFault(check, machine) : "";
  if (!retention_seconds.has_value() || !fault.empty()) {
    Query(tx, kDeleteCheck);
    return {"", fault.empty() ? absl::OkStatus() : ClockJump(fault)};
  }
  const absl::Duration elapsed =
      check.stored.has_value() ? check.stored->elapsed : absl::ZeroDuration();
  if (!check.is_due) {
    // Stored again from time to time: over a long time clocks differ without a jump.
    if (!check.stored.has_value() || elapsed >= kWait) store_check();
    return {};
  }
  if (check.was_due && elapsed >= kWait) {
    const std::string cutoff = move_cutoff(check.due_twice);
    store_check();
    return {absl::StrCat("refuses entries before ", cutoff, " from now on"), {}};
  }
  if (!check.was_due) store_check();
  const absl::Duration left = check.was_due ? kWait - elapsed : kWait;
  return {
      "",
      absl::AbortedError(absl::StrCat(
          "waits until ",
          absl::FormatTime("%Y-%m-%dT%H:%M:%SZ", check.database_time + left, absl::UTCTimeZone()),
          " for a second look at the clock; then drops months before ",
          check.cutoff.substr(0, kDateLength)))};
}

}  // namespace

Statements LiveDataRetentionStatements() {
  return {&kCheckRetention, &kStoreCheck, &kDeleteCheck, &kMoveCutoff};
}

absl::StatusOr<std::string> ApplyRetention(Session& session, absl::Duration retention) {
  const auto result = session.Transact(
      [&](pqxx::work& tx) -> absl::StatusOr<Result> { return CheckRetention(tx, retention); });
  if (!result.ok()) return result.status();
  if (!result->status.ok()) return result->status;
  return result->done;
}

bool IsClockJump(const absl::Status& status) {
  return status.GetPayload(kClockJumpUrl).has_value();
}

}  // namespace energysites::storage
