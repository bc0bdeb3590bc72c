#include <gmock/gmock.h>
#include <google/rpc/error_details.pb.h>
#include <gtest/gtest.h>

#include <sstream>
#include <string>

#include "clients/cli/progress.h"
#include "clients/cli/report.h"

namespace energysites {
namespace {

const absl::Time kStart = absl::FromUnixSeconds(1'470'034'800);

TEST(ProgressTest, WritesLinesNowAndThen) {
  std::ostringstream out;
  Progress progress(out, /*terminal=*/false, kStart);
  progress.Update(5'000, 0.01, kStart + absl::Milliseconds(1'999));
  EXPECT_EQ(out.str(), "");
  progress.Update(50'000, 0.336, kStart + absl::Seconds(2));
  progress.Update(50'001, 0.337, kStart + absl::Seconds(3));
  EXPECT_EQ(out.str(), "50,000 rows, 25,000 rows/s, 33 %\n");
  progress.Clear();
  EXPECT_EQ(out.str(), "50,000 rows, 25,000 rows/s, 33 %\n");
}

TEST(ProgressTest, LeavesOutAFractionThatIsNotKnown) {
  std::ostringstream out;
  Progress progress(out, /*terminal=*/false, kStart);
  progress.Update(10, 0, kStart + absl::Seconds(10));
  EXPECT_EQ(out.str(), "10 rows, 1 rows/s\n");
}

TEST(ProgressTest, DrawsABarAndKeepsItApartFromText) {
  std::ostringstream out;
  Progress progress(out, /*terminal=*/true, kStart);
  progress.Update(1'000, 0.5, kStart + absl::Seconds(1));
  EXPECT_EQ(out.str(), "\r[###############...............] 1,000 rows, 1,000 rows/s, 50 %\x1B[K");
  out.str("");
  progress.Print("live_data.csv:3: bad");
  EXPECT_EQ(out.str(), "\r\x1B[Klive_data.csv:3: bad\n");
  out.str("");
  progress.Clear();
  EXPECT_EQ(out.str(), "") << "nothing is drawn any more";
}

TEST(WithCommasTest, GroupsThousands) {
  EXPECT_EQ(WithCommas(0), "0");
  EXPECT_EQ(WithCommas(999), "999");
  EXPECT_EQ(WithCommas(1'000), "1,000");
  EXPECT_EQ(WithCommas(-123'456), "-123,456");
  EXPECT_EQ(WithCommas(1'234'567), "1,234,567");
}

TEST(FaultsOfTest, NamesEveryViolationByItsColumn) {
  google::rpc::BadRequest bad;
  for (const char* field : {"entries[499].soc", "live_data_entry.load_kwh", "dt_stamp"}) {
    auto& violation = *bad.add_field_violations();
    violation.set_field(field);
    violation.set_description("is wrong");
  }
  google::rpc::Status status;
  status.set_message("3 rules are broken");
  status.add_details()->PackFrom(bad);
  std::string text;
  for (const Fault& fault : FaultsOf(status, 500, "live_data_entry")) text += fault.text + "\n";
  EXPECT_EQ(text,
            "live_data_entry.soc: is wrong\nlive_data_entry.load_kwh: is wrong\n"
            "live_data_entry.dt_stamp: is wrong\n");
}

TEST(FaultsOfTest, FallsBackToTheMessage) {
  google::rpc::Status status;
  status.set_message("site 3 is being deleted");
  const std::vector<Fault> faults = FaultsOf(status, 2, "live_data_entry");
  ASSERT_EQ(faults.size(), 1u);
  EXPECT_EQ(faults[0].text, "site 3 is being deleted");
}

}  // namespace
}  // namespace energysites
