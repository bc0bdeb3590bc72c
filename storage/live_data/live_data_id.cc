#include "storage/live_data/live_data_id.h"

#include "absl/time/civil_time.h"
#include "absl/time/time.h"

namespace energysites::storage {
namespace {

constexpr int kNumberBits = 46;
constexpr int64_t kMonths = int64_t{9999} * 12;

Moment BeginOf(int64_t month) {
  const absl::CivilMonth civil = absl::CivilMonth(1, 1) + month;
  return Moment::FromUnixMicroseconds(
      absl::ToUnixMicros(absl::FromCivil(civil, absl::UTCTimeZone())));
}

}  // namespace

int64_t MonthOf(const google::protobuf::Timestamp& stamp) {
  const absl::CivilMonth month =
      absl::ToCivilMonth(absl::FromUnixSeconds(stamp.seconds()), absl::UTCTimeZone());
  return (month.year() - 1) * 12 + month.month() - 1;
}

int64_t LiveDataId(int64_t month, int64_t number) { return month << kNumberBits | number; }

MonthRange RangeOfMonth(int64_t month) { return {BeginOf(month), BeginOf(month + 1)}; }

std::optional<MonthRange> MonthOfId(int64_t id) {
  const int64_t month = id >> kNumberBits;
  if (month < 0 || month >= kMonths) return std::nullopt;
  return RangeOfMonth(month);
}

}  // namespace energysites::storage
