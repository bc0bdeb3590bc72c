#include "services/admission/untaken_answers.h"

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "google/rpc/error_details.pb.h"
#include "gtest/gtest.h"
#include "tests/support/matchers.h"

namespace energysites {
namespace {

using testing_support::DetailOf;
using testing_support::IsOk;

constexpr size_t kMib = size_t{1} << 20;

std::string ReasonOf(const absl::Status& status) {
  return DetailOf<google::rpc::ErrorInfo>(status).reason();
}

class UntakenAnswersTest : public testing::Test {
 protected:
  // Holds `mib` responses of 1 MiB.
  std::vector<std::unique_ptr<UntakenAnswers::Answer>> Hold(const Caller& caller, size_t mib) {
    std::vector<std::unique_ptr<UntakenAnswers::Answer>> held;
    for (size_t i = 0; i < mib; ++i) held.push_back(answers_.Hold(caller, kMib));
    return held;
  }

  UntakenAnswers answers_;
  const Caller nobody_ = {"", std::nullopt};
  const Caller device_ = {"device", {{1}}};
  const Caller device_elsewhere_ = {"device", {{2}}};
  const Caller other_device_ = {"other", {{1}}};
};

TEST_F(UntakenAnswersTest, ADeviceThatTakesNothingIsRefused) {
  auto held = Hold(device_, UntakenAnswers::kMostBytesOfSubject / kMib);
  EXPECT_EQ(ReasonOf(answers_.CheckRoom(device_)), "READER_TOO_SLOW");
  EXPECT_EQ(ReasonOf(answers_.CheckRoom(device_elsewhere_)), "READER_TOO_SLOW");
  EXPECT_THAT(answers_.CheckRoom(other_device_), IsOk());
  held.pop_back();
  EXPECT_THAT(answers_.CheckRoom(device_), IsOk());
}

TEST_F(UntakenAnswersTest, AllTogetherHaveALimit) {
  auto held = Hold(nobody_, UntakenAnswers::kMostBytes / kMib);
  for (const Caller& caller : {nobody_, device_}) {
    EXPECT_EQ(ReasonOf(answers_.CheckRoom(caller)), "QUEUE_FULL");
  }
  held.pop_back();
  for (const Caller& caller : {nobody_, device_}) {
    EXPECT_THAT(answers_.CheckRoom(caller), IsOk());
  }
}

// Regression: the second one to go was looked for in vain.
TEST_F(UntakenAnswersTest, EmptyAnswersHoldNothing) {
  EXPECT_EQ(answers_.Hold(nobody_, 0), nullptr);
  auto held = Hold(nobody_, 1);
  held.push_back(answers_.Hold(nobody_, 0));
  held.clear();
  EXPECT_THAT(answers_.CheckRoom(nobody_), IsOk());
}

}  // namespace
}  // namespace energysites
