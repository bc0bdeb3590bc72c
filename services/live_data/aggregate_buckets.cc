#include "services/live_data/aggregate_buckets.h"

#include <algorithm>
#include <cstddef>
#include <functional>
#include <optional>
#include <set>
#include <string>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "absl/time/civil_time.h"
#include "absl/time/time.h"
#include "services/errors/errors.h"
#include "services/live_data/time_zones.h"

namespace energysites {
namespace {

// A bucket takes up to about 260 bytes, and gRPC clients accept up to 4 MiB by default.
constexpr size_t kMaxBuckets = 10000;
constexpr int64_t kMaxSeconds = int64_t{366} * 24 * 60 * 60;
constexpr int64_t kMicrosecondsPerSecond = 1000000;

// Returns `stamp` in microseconds, the precision of the database, rounded up.
int64_t MicrosecondsOf(const google::protobuf::Timestamp& stamp) {
  return stamp.seconds() * kMicrosecondsPerSecond + (stamp.nanos() + 999) / 1000;
}

// Returns the first of `next`, `next + step`, ... that begins after `now`. `next` itself may begin
// before `now` if local time was set back past its start.
template <class Civil>
absl::Time BeginAfter(absl::Time now, const absl::TimeZone& zone, Civil next, int step) {
  while (absl::FromCivil(next, zone) <= now) next += step;
  return absl::FromCivil(next, zone);
}

absl::Time NextHour(absl::Time now, const absl::TimeZone& zone) {
  const absl::CivilSecond clock = zone.At(now).cs;
  const absl::Time full_hour = absl::FromUnixSeconds(absl::ToUnixSeconds(now)) + absl::Hours(1) -
                               absl::Minutes(clock.minute()) - absl::Seconds(clock.second());
  absl::TimeZone::CivilTransition change;
  if (!zone.NextTransition(now, &change)) return full_hour;
  return std::min(full_hour, zone.At(change.to).trans);
}

absl::Time NextBegin(const std::string& unit, absl::Time now, const absl::TimeZone& zone) {
  if (unit == "hour") return NextHour(now, zone);
  const absl::CivilSecond clock = zone.At(now).cs;
  if (unit == "day") return BeginAfter(now, zone, absl::CivilDay(clock) + 1, 1);
  if (unit == "month") return BeginAfter(now, zone, absl::CivilMonth(clock) + 1, 1);
  constexpr int kWeek = 7;
  return BeginAfter(now, zone, absl::NextWeekday(absl::CivilDay(clock), absl::Weekday::monday),
                    kWeek);
}

// Returns 900 for `900s`; nothing for a calendar unit.
std::optional<int64_t> FixedSeconds(absl::string_view bucket) {
  int64_t seconds;
  if (!absl::ConsumeSuffix(&bucket, "s") || !absl::SimpleAtoi(bucket, &seconds)) {
    return std::nullopt;
  }
  return seconds;
}

// Returns the end of the bucket that contains `now`.
using Next = std::function<int64_t(int64_t now)>;

Next FixedLength(int64_t length) {
  return [length](int64_t now) {
    const int64_t past = now % length;
    return now - past + (past < 0 ? 0 : length);
  };
}

Next CalendarUnit(const std::string& unit, const absl::TimeZone& zone) {
  return [unit, zone](int64_t now) {
    return absl::ToUnixMicros(NextBegin(unit, absl::FromUnixMicros(now), zone));
  };
}

}  // namespace

absl::StatusOr<std::vector<int64_t>> AggregateBuckets(const v1::AggregateLiveDataRequest& request) {
  std::vector<Violation> violations;
  const std::optional<int64_t> seconds = FixedSeconds(request.bucket());
  if (seconds.has_value() && *seconds > kMaxSeconds) {
    violations.push_back(
        {"bucket", "bucket.length",
         absl::StrCat("must be 366 days (", kMaxSeconds, "s) at most, not ", request.bucket())});
  }
  const std::optional<absl::TimeZone> zone = FindTimeZone(request.time_zone());
  if (!zone.has_value()) {
    violations.push_back(
        {"time_zone", "time_zone.known",
         absl::StrCat("must be a time zone of the IANA database such as Europe/Berlin, not ",
                      request.time_zone())});
  }
  if (!violations.empty()) return InvalidRequest(violations);

  const int64_t start = MicrosecondsOf(request.start_time());
  const int64_t end = MicrosecondsOf(request.end_time());
  if (start >= end) return std::vector<int64_t>();
  const std::set<int64_t> sites(request.site_ids().begin(), request.site_ids().end());
  const Next next = seconds.has_value() ? FixedLength(*seconds * kMicrosecondsPerSecond)
                                        : CalendarUnit(request.bucket(), *zone);
  std::vector<int64_t> boundaries = {start};
  while (boundaries.back() < end) {
    if (boundaries.size() * sites.size() > kMaxBuckets) {
      return InvalidRequest({{"end_time", "end_time.buckets",
                              absl::StrCat("must leave ", kMaxBuckets,
                                           " buckets of all sites at most from start_time on")}});
    }
    boundaries.push_back(std::min(next(boundaries.back()), end));
  }
  return boundaries;
}

}  // namespace energysites
