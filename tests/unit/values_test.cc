// Moments and ids of live data. Without a database.
#include <limits>
#include <string>

#include "absl/time/civil_time.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "storage/live_data/live_data_id.h"
#include "storage/postgres/moment.h"
#include "tests/support/matchers.h"

namespace energysites::storage {
namespace {

using google::protobuf::Timestamp;
using testing_support::EqualsProto;

Timestamp Stamp(int64_t seconds, int32_t nanos = 0) {
  Timestamp stamp;
  stamp.set_seconds(seconds);
  stamp.set_nanos(nanos);
  return stamp;
}

constexpr int64_t kFirstSecond = -62135596800, kLastSecond = 253402300799;

TEST(MomentTest, WritesMoments) {
  struct MomentCase {
    int64_t seconds;
    int32_t nanos;
    std::string sql;
  };
  const MomentCase kCases[] = {
      {kFirstSecond, 0, "0001-01-01T00:00:00.000000Z"},
      {kLastSecond, 999999999, "9999-12-31T23:59:59.999999Z"},
      {0, 0, "1970-01-01T00:00:00.000000Z"},
      {-1, 999999999, "1969-12-31T23:59:59.999999Z"},
      {-1, 0, "1969-12-31T23:59:59.000000Z"},
      {1456704000, 1999, "2016-02-29T00:00:00.000001Z"},
      {0, 999, "1970-01-01T00:00:00.000000Z"},
  };
  for (const MomentCase& moment : kCases) {
    EXPECT_EQ(SqlFromTimestamp(Stamp(moment.seconds, moment.nanos)), moment.sql);
  }
}

TEST(MomentTest, MicrosecondsRoundTrip) {
  for (const int64_t seconds : {kFirstSecond, int64_t{-1}, int64_t{0}, kLastSecond}) {
    for (const int32_t nanos : {0, 1000, 999999000}) {
      const Timestamp stamp = Stamp(seconds, nanos);
      EXPECT_THAT(TimestampFromMicroseconds(seconds * 1000000 + nanos / 1000), EqualsProto(stamp));
    }
  }
}

TEST(MomentTest, CutsWhatIsFinerThanAMicrosecond) {
  EXPECT_THAT(CutToMicroseconds(Stamp(-5, 999999999)), EqualsProto(Stamp(-5, 999999000)));
  EXPECT_THAT(CutToMicroseconds(Stamp(5, 999)), EqualsProto(Stamp(5, 0)));
}

TEST(LiveDataIdTest, EveryMonthRoundTrips) {
  for (int64_t month = 0; month < 9999 * 12; ++month) {
    const absl::CivilMonth civil = absl::CivilMonth(1, 1) + month;
    const int64_t begin = absl::ToUnixSeconds(absl::FromCivil(civil, absl::UTCTimeZone()));
    const int64_t end = absl::ToUnixSeconds(absl::FromCivil(civil + 1, absl::UTCTimeZone()));
    ASSERT_EQ(MonthOf(Stamp(begin)), month);
    ASSERT_EQ(MonthOf(Stamp(end - 1, 999999999)), month);
    for (const int64_t number : {int64_t{1}, (int64_t{1} << 46) - 1}) {
      const int64_t id = LiveDataId(month, number);
      ASSERT_GT(id, 0);
      const auto range = MonthOfId(id);
      ASSERT_TRUE(range.has_value());
      ASSERT_EQ(range->begin.microseconds, RangeOfMonth(month).begin.microseconds);
      ASSERT_EQ(range->end.microseconds, RangeOfMonth(month + 1).begin.microseconds);
    }
    const std::string text = SqlFromTimestamp(Stamp(begin));
    ASSERT_EQ(SqlFromTimestamp(RangeOfMonth(month).begin.ToTimestamp()), text);
  }
}

TEST(LiveDataIdTest, KnowsIdsThatNoEntryCanHave) {
  EXPECT_FALSE(MonthOfId(-1).has_value());
  EXPECT_FALSE(MonthOfId(LiveDataId(9999 * 12, 1)).has_value());
  EXPECT_FALSE(MonthOfId(std::numeric_limits<int64_t>::max()).has_value());
  EXPECT_FALSE(MonthOfId(std::numeric_limits<int64_t>::min()).has_value());
}

}  // namespace
}  // namespace energysites::storage
