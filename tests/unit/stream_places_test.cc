#include "services/admission/stream_places.h"

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "google/rpc/error_details.pb.h"
#include "gtest/gtest.h"
#include "tests/support/matchers.h"

namespace energysites {
namespace {

using testing_support::DetailOf;

class StreamPlacesTest : public testing::Test {
 protected:
  // The reason why the caller gets no place; empty if it gets one.
  std::string Take(const Caller& caller) {
    std::unique_ptr<StreamPlaces::Place> place;
    const absl::Status taken = places_.Take(caller, place);
    if (!taken.ok()) return DetailOf<google::rpc::ErrorInfo>(taken).reason();
    taken_.push_back(std::move(place));
    return "";
  }

  StreamPlaces places_{20, 2};
  std::vector<std::unique_ptr<StreamPlaces::Place>> taken_;
  const Caller backend_ = {"backend", std::nullopt};
  const Caller device_ = {"device", {{1}}};
  const Caller device_elsewhere_ = {"device", {{2}}};
  const Caller device_unbound_ = {"device", std::nullopt};
};

TEST_F(StreamPlacesTest, ADeviceHasAShare) {
  for (int i = 0; i < 3; ++i) EXPECT_EQ(Take(device_unbound_), "");
  for (int i = 0; i < 2; ++i) EXPECT_EQ(Take(device_), "");
  EXPECT_EQ(Take(device_), "TOO_MANY_STREAMS");
  EXPECT_EQ(Take(device_elsewhere_), "TOO_MANY_STREAMS");
  EXPECT_EQ(Take(device_unbound_), "");
  taken_.clear();
  EXPECT_EQ(places_.taken(), 0u);
  EXPECT_EQ(Take(device_elsewhere_), "");
}

TEST_F(StreamPlacesTest, AllTogetherHaveWhatThereIs) {
  for (int i = 0; i < 20; ++i) EXPECT_EQ(Take(backend_), "");
  EXPECT_EQ(places_.taken(), 20u);
  for (const Caller& caller : {backend_, device_}) EXPECT_EQ(Take(caller), "QUEUE_FULL");
  taken_.pop_back();
  EXPECT_EQ(Take(device_), "");
}

}  // namespace
}  // namespace energysites
