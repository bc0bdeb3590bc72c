#include "services/admission/subject_quota.h"

#include <memory>
#include <string>
#include <vector>

#include "google/rpc/error_details.pb.h"
#include "gtest/gtest.h"
#include "services/admission/caller.h"
#include "tests/support/matchers.h"

namespace energysites {
namespace {

using testing_support::DetailOf;

const Caller kBackend = {"backend", std::nullopt};
const Caller kDevice = {"device", {{1}}};
const Caller kDeviceElsewhere = {"device", {{2}}};
const Caller kDeviceUnbound = {"device", std::nullopt};

// Empty for OK.
std::string ReasonOf(const absl::Status& status) {
  return status.ok() ? "" : DetailOf<google::rpc::ErrorInfo>(status).reason();
}

class StreamQuotaTest : public testing::Test {
 protected:
  // The reason why the caller gets no stream, and else empty.
  std::string Take(const Caller& caller) {
    std::unique_ptr<SubjectQuota::Holding> holding;
    const absl::Status taken = streams_.Take(DeviceOf(caller), holding);
    if (taken.ok()) holdings_.push_back(std::move(holding));
    return ReasonOf(taken);
  }

  SubjectQuota streams_ = StreamQuota(20, 2);
  std::vector<std::unique_ptr<SubjectQuota::Holding>> holdings_;
};

TEST_F(StreamQuotaTest, ADeviceHasAShare) {
  for (int i = 0; i < 3; ++i) EXPECT_EQ(Take(kDeviceUnbound), "");
  for (int i = 0; i < 2; ++i) EXPECT_EQ(Take(kDevice), "");
  EXPECT_EQ(Take(kDevice), "TOO_MANY_STREAMS");
  EXPECT_EQ(Take(kDeviceElsewhere), "TOO_MANY_STREAMS");
  EXPECT_EQ(Take(kDeviceUnbound), "");
  holdings_.clear();
  EXPECT_EQ(streams_.held(), 0u);
  EXPECT_EQ(Take(kDeviceElsewhere), "");
}

TEST_F(StreamQuotaTest, AllTogetherHaveALimit) {
  for (int i = 0; i < 20; ++i) EXPECT_EQ(Take(kBackend), "");
  EXPECT_EQ(streams_.held(), 20u);
  for (const Caller& caller : {kBackend, kDevice}) EXPECT_EQ(Take(caller), "QUEUE_FULL");
  holdings_.pop_back();
  EXPECT_EQ(Take(kDevice), "");
}

TEST_F(StreamQuotaTest, EveryDeviceHasOneStreamAtLeast) {
  SubjectQuota few = StreamQuota(3, 0);
  std::unique_ptr<SubjectQuota::Holding> one, two;
  EXPECT_EQ(ReasonOf(few.Take("device", one)), "");
  EXPECT_EQ(ReasonOf(few.Take("device", two)), "TOO_MANY_STREAMS");
}

class UntakenAnswersQuotaTest : public testing::Test {
 protected:
  static constexpr size_t kMebibyte = size_t{1} << 20;

  // Holds `count` answers of 1 MiB.
  std::vector<std::unique_ptr<SubjectQuota::Holding>> Hold(const std::string& subject, int count) {
    std::vector<std::unique_ptr<SubjectQuota::Holding>> held;
    for (int i = 0; i < count; ++i) held.push_back(answers_.Hold(subject, kMebibyte));
    return held;
  }

  SubjectQuota answers_ = UntakenAnswersQuota();
};

TEST_F(UntakenAnswersQuotaTest, ASubjectThatTakesNothingIsRefused) {
  auto held = Hold("device", 8);
  EXPECT_EQ(ReasonOf(answers_.CheckRoom("device")), "READER_TOO_SLOW");
  EXPECT_EQ(ReasonOf(answers_.CheckRoom("other")), "");
  held.pop_back();
  EXPECT_EQ(ReasonOf(answers_.CheckRoom("device")), "");
}

TEST_F(UntakenAnswersQuotaTest, AllTogetherHaveALimit) {
  auto held = Hold("", 32);
  for (const char* subject : {"", "device"}) {
    EXPECT_EQ(ReasonOf(answers_.CheckRoom(subject)), "QUEUE_FULL");
  }
  held.pop_back();
  for (const char* subject : {"", "device"}) EXPECT_EQ(ReasonOf(answers_.CheckRoom(subject)), "");
}

// Regression: the second one to go was looked for in vain.
TEST_F(UntakenAnswersQuotaTest, EmptyAnswersHoldNothing) {
  EXPECT_EQ(answers_.Hold("", 0), nullptr);
  auto held = Hold("", 1);
  held.push_back(answers_.Hold("", 0));
  held.clear();
  EXPECT_EQ(answers_.held(), 0u);
}

}  // namespace
}  // namespace energysites
