#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <charconv>
#include <cmath>
#include <cstring>
#include <random>
#include <string>

#include "clients/cli/field_text.h"
#include "clients/cli/request_id.h"
#include "clients/cli/rows.h"
#include "energysites/v1/configurations.pb.h"
#include "energysites/v1/live_data.pb.h"
#include "energysites/v1/sites.pb.h"

namespace energysites {
namespace {

using ::testing::MatchesRegex;

TEST(FormatDoubleTest, IsShort) {
  EXPECT_EQ(FormatDouble(0), "0");
  EXPECT_EQ(FormatDouble(-0.0), "-0");
  EXPECT_EQ(FormatDouble(10.5), "10.5");
  EXPECT_EQ(FormatDouble(100), "100");
  EXPECT_EQ(FormatDouble(100000), "100000");
  EXPECT_EQ(FormatDouble(0.1 + 0.2), "0.30000000000000004");
  EXPECT_EQ(FormatDouble(0.0001), "0.0001");
  EXPECT_EQ(FormatDouble(1e-7), "1e-07");
  EXPECT_EQ(FormatDouble(1e308), "1e+308");
}

TEST(FormatDoubleTest, EveryDoubleReadsBackBitForBit) {
  std::mt19937_64 random(20160801);
  for (int i = 0; i < 100'000; ++i) {
    const uint64_t bits = random();
    double value;
    std::memcpy(&value, &bits, sizeof(value));
    if (!std::isfinite(value)) continue;
    const std::string text = FormatDouble(value);
    double read = 0;
    std::from_chars(text.data(), text.data() + text.size(), read);
    uint64_t read_bits = 0;
    std::memcpy(&read_bits, &read, sizeof(read));
    ASSERT_EQ(read_bits, bits) << text;
  }
}

TEST(StampTest, ReadsBack) {
  for (const char* text :
       {"2016-08-01T07:00:00Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999999Z",
        "2016-02-29T12:34:56.5Z", "1969-12-31T23:59:59.000001Z"}) {
    const auto stamp = ParseStamp(text);
    ASSERT_TRUE(stamp.ok()) << stamp.status();
    EXPECT_EQ(FormatStamp(*stamp), text);
  }
}

TEST(StampTest, TakesOffsetsAndUnneededZeros) {
  EXPECT_EQ(FormatStamp(*ParseStamp("2016-08-01T00:30:00-07:00")), "2016-08-01T07:30:00Z");
  EXPECT_EQ(FormatStamp(*ParseStamp("2016-08-01T00:30:00+05:45")), "2016-07-31T18:45:00Z");
  EXPECT_EQ(FormatStamp(*ParseStamp("2016-08-01T07:00:00.500Z")), "2016-08-01T07:00:00.5Z");
}

TEST(StampTest, RefusesWhatIsNoTime) {
  for (const char* text : {"2016-08-01", "2016-08-01 07:00:00Z", "2016-08-01T07:00:00",
                           "2016-8-1T7:0:0Z", "2016-02-30T07:00:00Z", "2016-13-01T07:00:00Z",
                           "2016-08-01T24:00:00Z", "2016-08-01T07:00:60Z", "2016-08-01T07:00:00.Z",
                           "2016-08-01T07:00:00.1234567890Z", "2016-08-01T07:00:00+24:00",
                           "2016-08-01T07:00:00ZZ", " 2016-08-01T07:00:00Z", "infinite-future"}) {
    EXPECT_FALSE(ParseStamp(text).ok()) << text;
  }
}

CsvRow Row(std::vector<std::string> fields) { return {7, std::move(fields), absl::OkStatus()}; }

TEST(RowsTest, ReadsAndWritesTheSameText) {
  const CsvRow row =
      Row({"A, b", "2016-08-01T07:00:00Z", "10.5", "2.2758", "0", "false", "true", "false"});
  v1::LiveDataEntry entry;
  EXPECT_TRUE(ReadRow(row, LiveDataColumns(), "live_data_entry", entry).empty());
  EXPECT_EQ(entry.soc(), 10.5);
  EXPECT_TRUE(entry.bio_notification());
  EXPECT_TRUE(entry.has_net_load_kwh());
  EXPECT_FALSE(entry.has_site_id());
  EXPECT_EQ(WriteRow(entry, LiveDataColumns(), "A, b"),
            R"("A, b",2016-08-01T07:00:00Z,10.5,2.2758,0,false,true,false)");
}

TEST(RowsTest, ReportsEveryColumnThatCannotBeRead) {
  v1::LiveDataEntry entry;
  std::string faults;
  for (const Fault& fault : ReadRow(Row({"A", "noon", "1O", "1e999", "0x1", "yes", "", "1"}),
                                    LiveDataColumns(), "live_data_entry", entry)) {
    EXPECT_EQ(fault.line, 7);
    faults += fault.text + "\n";
  }
  EXPECT_EQ(faults,
            "live_data_entry.dt_stamp: \"noon\" is not a time such as 2016-08-01T07:00:00Z\n"
            "live_data_entry.soc: \"1O\" is not a number in the range of a double\n"
            "live_data_entry.load_kwh: \"1e999\" is not a number in the range of a double\n"
            "live_data_entry.net_load_kwh: \"0x1\" is not a number in the range of a double\n"
            "live_data_entry.pv_notification: \"yes\" is not true or false\n"
            "live_data_entry.cro_notification: \"1\" is not true or false\n");
  EXPECT_FALSE(entry.has_bio_notification()) << "empty is unset, for the service to refuse";
}

TEST(RowsTest, WholeNumbersOfAConfigurationStayWhole) {
  v1::Configuration configuration;
  EXPECT_THAT(ReadRow(Row({"A", "Tesla", "6.4", "5", "1.5", "0", "2147483648", "", "4"}),
                      ConfigurationColumns(), "configuration", configuration),
              ::testing::SizeIs(2));
  EXPECT_FALSE(configuration.has_production_pv_kwp());
  EXPECT_EQ(configuration.production_cro_kwp(), 4);
}

TEST(RowsTest, EveryColumnIsAFieldOfItsMessage) {
  const auto check = [](const std::vector<CsvColumn>& columns, const auto& message) {
    for (const CsvColumn& column : columns) {
      if (column.name == "site_name") continue;
      EXPECT_NE(message.GetDescriptor()->FindFieldByName(std::string(column.name)), nullptr)
          << column.name;
    }
  };
  check(SiteColumns(), v1::Site());
  check(ConfigurationColumns(), v1::Configuration());
  check(LiveDataColumns(), v1::LiveDataEntry());
}

TEST(RequestIdTest, IsAUuidOfItsContent) {
  // Must never change: a newer program may repeat an interrupted import.
  EXPECT_EQ(RequestId("content", 0), "69574f67-6604-8b38-b42c-ccd93c140ba8");
  EXPECT_THAT(RequestId("content", 0),
              MatchesRegex("[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"));
  EXPECT_NE(RequestId("content", 0), RequestId("content", 1));
  EXPECT_NE(RequestId("content", 0), RequestId("contenu", 0));
}

}  // namespace
}  // namespace energysites
