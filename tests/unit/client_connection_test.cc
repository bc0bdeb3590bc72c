#include "clients/cli/connection.h"
#include "gtest/gtest.h"

namespace energysites {
namespace {

TEST(MayPass, WhatIsAboutTheMomentAndNotAboutTheCall) {
  EXPECT_TRUE(MayPass({grpc::StatusCode::UNAVAILABLE, "connection refused"}));
  EXPECT_TRUE(MayPass({grpc::StatusCode::RESOURCE_EXHAUSTED, "too many calls"}));
  EXPECT_FALSE(MayPass({grpc::StatusCode::INVALID_ARGUMENT, "soc: must be from 0 to 100"}));
}

// Regression: an import through the gateway ended where a server did.
TEST(MayPass, AStreamThatEnvoyResets) {
  EXPECT_TRUE(MayPass({grpc::StatusCode::INTERNAL, "Received RST_STREAM with error code 2"}));
  EXPECT_FALSE(MayPass({grpc::StatusCode::INTERNAL, "an internal error"}));
}

}  // namespace
}  // namespace energysites
