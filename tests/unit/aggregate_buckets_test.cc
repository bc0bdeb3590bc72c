// The bounds of buckets in time zones with unusual changes of the UTC offset.
#include "services/live_data/aggregate_buckets.h"

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "google/protobuf/util/time_util.h"
#include "google/rpc/error_details.pb.h"
#include "gtest/gtest.h"
#include "services/live_data/time_zones.h"
#include "tests/support/matchers.h"

namespace energysites {
namespace {

using google::protobuf::util::TimeUtil;
using testing::ElementsAreArray;
using testing::IsEmpty;
using testing_support::DetailOf;
using testing_support::IsOk;
using testing_support::StatusIs;

v1::AggregateLiveDataRequest Request(const std::string& bucket, const std::string& zone,
                                     const std::string& start, const std::string& end) {
  v1::AggregateLiveDataRequest request;
  request.add_site_ids(1);
  request.set_bucket(bucket);
  request.set_time_zone(zone);
  EXPECT_TRUE(TimeUtil::FromString(start, request.mutable_start_time())) << start;
  EXPECT_TRUE(TimeUtil::FromString(end, request.mutable_end_time())) << end;
  return request;
}

std::vector<std::string> InWords(const std::vector<int64_t>& boundaries) {
  std::vector<std::string> words;
  for (const int64_t boundary : boundaries) {
    words.push_back(absl::FormatTime("%E4Y-%m-%dT%H:%M:%E*SZ", absl::FromUnixMicros(boundary),
                                     absl::UTCTimeZone()));
  }
  return words;
}

struct Case {
  std::string what;
  std::string bucket;
  std::string zone;
  std::vector<std::string> boundaries;  // Including the start and end of the request.
};

class AggregateBucketsOfTest : public testing::TestWithParam<Case> {};

TEST_P(AggregateBucketsOfTest, BeginWhereTheClocksSay) {
  const Case& wanted = GetParam();
  const auto boundaries = AggregateBuckets(
      Request(wanted.bucket, wanted.zone, wanted.boundaries.front(), wanted.boundaries.back()));
  ASSERT_THAT(boundaries, IsOk());
  EXPECT_THAT(InWords(*boundaries), ElementsAreArray(wanted.boundaries));
}

const Case kCases[] = {
    {"UtcDays",
     "day",
     "",
     {"2024-02-28T12:00:00Z", "2024-02-29T00:00:00Z", "2024-03-01T00:00:00Z",
      "2024-03-01T00:00:00.000001Z"}},
    {"DayOf23Hours",
     "day",
     "Europe/Berlin",
     {"2024-03-29T23:00:00Z", "2024-03-30T23:00:00Z", "2024-03-31T22:00:00Z",
      "2024-04-01T22:00:00Z"}},
    {"DayOf25Hours",
     "day",
     "Europe/Berlin",
     {"2024-10-25T22:00:00Z", "2024-10-26T22:00:00Z", "2024-10-27T23:00:00Z",
      "2024-10-28T23:00:00Z"}},
    {"HourThatIsLeftOut",
     "hour",
     "Europe/Berlin",
     {"2024-03-31T00:00:00Z", "2024-03-31T01:00:00Z", "2024-03-31T02:00:00Z"}},
    {"HourThatComesTwice",
     "hour",
     "Europe/Berlin",
     {"2024-10-26T23:30:00Z", "2024-10-27T00:00:00Z", "2024-10-27T01:00:00Z",
      "2024-10-27T02:00:00Z"}},
    {"HoursAtHalf",
     "hour",
     "Asia/Kolkata",
     {"2024-01-01T00:00:00Z", "2024-01-01T00:30:00Z", "2024-01-01T01:30:00Z",
      "2024-01-01T02:00:00Z"}},
    {"DaysAtThreeQuarters",
     "day",
     "Asia/Kathmandu",
     {"2024-01-01T00:00:00Z", "2024-01-01T18:15:00Z", "2024-01-02T18:15:00Z"}},
    {"ClocksPutBackByHalfAnHour",
     "hour",
     "Australia/Lord_Howe",
     {"2024-04-06T14:00:00Z", "2024-04-06T15:00:00Z", "2024-04-06T15:30:00Z",
      "2024-04-06T16:30:00Z"}},
    {"ClocksPutForwardByHalfAnHour",
     "hour",
     "Australia/Lord_Howe",
     {"2024-10-05T14:30:00Z", "2024-10-05T15:30:00Z", "2024-10-05T16:00:00Z"}},
    {"ClocksPutBackInsideAnHour",
     "hour",
     "America/St_Johns",
     {"2006-10-29T01:30:00Z", "2006-10-29T02:30:00Z", "2006-10-29T02:31:00Z",
      "2006-10-29T03:30:00Z", "2006-10-29T04:30:00Z"}},
    {"MidnightThatComesTwice",
     "day",
     "America/St_Johns",
     {"2006-10-28T02:30:00Z", "2006-10-29T02:30:00Z", "2006-10-30T03:30:00Z"}},
    {"FromBetweenTheTwoMidnights",
     "day",
     "America/St_Johns",
     {"2006-10-29T03:00:00Z", "2006-10-30T03:30:00Z", "2006-10-31T03:30:00Z"}},
    {"MidnightThatIsLeftOut",
     "day",
     "America/Sao_Paulo",
     {"2018-11-03T03:00:00Z", "2018-11-04T03:00:00Z", "2018-11-05T02:00:00Z"}},
    {"DayThatIsLeftOut",
     "day",
     "Pacific/Apia",
     {"2011-12-29T10:00:00Z", "2011-12-30T10:00:00Z", "2011-12-31T10:00:00Z"}},
    {"OffTheQuarterHour",
     "day",
     "Africa/Monrovia",
     {"1971-05-01T00:00:00Z", "1971-05-01T00:44:30Z", "1971-05-02T00:44:30Z"}},
    {"Weeks",
     "week",
     "Europe/Berlin",
     {"2024-03-24T22:59:59Z", "2024-03-24T23:00:00Z", "2024-03-31T22:00:00Z",
      "2024-04-07T22:00:00Z", "2024-04-08T00:00:00Z"}},
    {"Months",
     "month",
     "Europe/Berlin",
     {"2024-02-14T00:00:00Z", "2024-02-29T23:00:00Z", "2024-03-31T22:00:00Z",
      "2024-04-30T22:00:00Z"}},
    {"FixedAcross1970",
     "7s",
     "Europe/Berlin",
     {"1969-12-31T23:59:50Z", "1969-12-31T23:59:53Z", "1970-01-01T00:00:00Z",
      "1970-01-01T00:00:07Z", "1970-01-01T00:00:10Z"}},
    {"OneBucketAtMost", "31622400s", "", {"0001-01-01T00:00:00Z", "0001-01-01T00:00:01Z"}},
    {"TheEndOfTime",
     "month",
     "Pacific/Kiritimati",
     {"9999-11-30T00:00:00Z", "9999-11-30T10:00:00Z", "9999-12-31T10:00:00Z",
      "9999-12-31T23:59:59Z"}},
};
INSTANTIATE_TEST_SUITE_P(Clocks, AggregateBucketsOfTest, testing::ValuesIn(kCases),
                         [](const auto& info) { return info.param.what; });

// Entries are stored with microsecond precision, so bounds are rounded up to microseconds.
TEST(AggregateBucketsTest, BoundsBetweenStoredMomentsMoveUp) {
  const auto boundaries = AggregateBuckets(
      Request("day", "", "1969-12-31T23:59:59.999999001Z", "1970-01-01T00:00:00.000001999Z"));
  ASSERT_THAT(boundaries, IsOk());
  EXPECT_THAT(*boundaries, ElementsAreArray({0, 2}));
}

TEST(AggregateBucketsTest, NothingLiesInAnEmptyRange) {
  for (const char* end : {"2024-01-01T00:00:00Z", "2023-01-01T00:00:00Z", "0001-01-01T00:00:00Z"}) {
    const auto boundaries = AggregateBuckets(Request("hour", "", "2024-01-01T00:00:00Z", end));
    ASSERT_THAT(boundaries, IsOk());
    EXPECT_THAT(*boundaries, IsEmpty());
  }
}

void ExpectRefused(const v1::AggregateLiveDataRequest& request,
                   const std::vector<std::string>& fields_and_rules) {
  const absl::Status status = AggregateBuckets(request).status();
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kInvalidArgument)) << request.ShortDebugString();
  const auto bad_request = DetailOf<google::rpc::BadRequest>(status);
  std::vector<std::string> found;
  for (const auto& violation : bad_request.field_violations()) {
    found.push_back(absl::StrCat(violation.field(), " ", violation.reason()));
  }
  EXPECT_EQ(found, fields_and_rules);
}

TEST(AggregateBucketsTest, RefusesWhatIsNoTimeZone) {
  for (const char* zone : {"Europe/Nowhere", "europe/berlin", "localtime", "Fixed/UTC+01", "Europe",
                           "/usr/share/zoneinfo/Europe/Berlin", "posix/Europe/Berlin",
                           "right/Europe/Berlin", "posixrules", "Europe//Berlin", "+01", "-"}) {
    for (const char* bucket : {"day", "60s"}) {
      ExpectRefused(Request(bucket, zone, "2024-01-01T00:00:00Z", "2024-01-02T00:00:00Z"),
                    {"time_zone time_zone.known"});
    }
  }
  for (const char* zone : {"UTC", "Asia/Calcutta", "US/Pacific", "Etc/GMT+12", "CET"}) {
    EXPECT_TRUE(FindTimeZone(zone).has_value()) << zone;
  }
}

TEST(AggregateBucketsTest, NamesEveryFaultOfTheBucket) {
  ExpectRefused(
      Request("31622401s", "Mars/Olympus", "2024-01-01T00:00:00Z", "2024-01-02T00:00:00Z"),
      {"bucket bucket.length", "time_zone time_zone.known"});
}

TEST(AggregateBucketsTest, CountsTheBucketsOfAllSites) {
  // 10,000 seconds are 02:46:40.
  auto request = Request("1s", "", "2024-01-01T00:00:00Z", "2024-01-01T02:46:40Z");
  const auto boundaries = AggregateBuckets(request);
  ASSERT_THAT(boundaries, IsOk());
  EXPECT_EQ(boundaries->size(), 10001u);
  request.add_site_ids(1);  // A duplicate.
  EXPECT_THAT(AggregateBuckets(request), IsOk());
  request.add_site_ids(2);
  ExpectRefused(request, {"end_time end_time.buckets"});
  ExpectRefused(Request("1s", "", "2024-01-01T00:00:00Z", "2024-01-01T02:46:40.000000001Z"),
                {"end_time end_time.buckets"});
  ExpectRefused(Request("hour", "Asia/Tokyo", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"),
                {"end_time end_time.buckets"});
}

// Every field with its maximum length.
void Fill(google::protobuf::Message& message) {
  using google::protobuf::FieldDescriptor;
  const auto& reflection = *message.GetReflection();
  const auto& descriptor = *message.GetDescriptor();
  for (int i = 0; i < descriptor.field_count(); ++i) {
    const FieldDescriptor* field = descriptor.field(i);
    switch (field->cpp_type()) {
      case FieldDescriptor::CPPTYPE_INT64:
        reflection.SetInt64(&message, field, -1);
        break;
      case FieldDescriptor::CPPTYPE_INT32:
        reflection.SetInt32(&message, field, 999'999'999);
        break;
      case FieldDescriptor::CPPTYPE_DOUBLE:
        reflection.SetDouble(&message, field, 1);
        break;
      case FieldDescriptor::CPPTYPE_MESSAGE:
        Fill(*reflection.MutableMessage(&message, field));
        break;
      default:
        FAIL() << "no value for " << field->full_name();
    }
  }
}

TEST(AggregateBucketsTest, TheLargestAnswerIsOneThatClientsTake) {
  const auto boundaries =
      AggregateBuckets(Request("1s", "", "2024-01-01T00:00:00Z", "2024-01-01T02:46:40Z"));
  ASSERT_THAT(boundaries, IsOk());
  v1::AggregateLiveDataResponse response;
  for (size_t i = 1; i < boundaries->size(); ++i) Fill(*response.add_buckets());
  constexpr size_t kDefaultMostBytesOfClients = 4 << 20;
  EXPECT_LT(response.ByteSizeLong(), kDefaultMostBytesOfClients);
}

}  // namespace
}  // namespace energysites
