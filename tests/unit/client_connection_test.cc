#include "clients/cli/connection.h"
#include "gtest/gtest.h"

namespace energysites {
namespace {

TEST(IsRetryable, WhatIsAboutTheMomentAndNotAboutTheCall) {
  EXPECT_TRUE(IsRetryable({grpc::StatusCode::UNAVAILABLE, "connection refused"}));
  EXPECT_TRUE(IsRetryable({grpc::StatusCode::RESOURCE_EXHAUSTED, "too many calls"}));
  EXPECT_FALSE(IsRetryable({grpc::StatusCode::INVALID_ARGUMENT, "soc: must be from 0 to 100"}));
}

// Regression: an import through the gateway failed when a server ended.
TEST(IsRetryable, AStreamThatEnvoyResets) {
  EXPECT_TRUE(IsRetryable({grpc::StatusCode::INTERNAL, "Received RST_STREAM with error code 2"}));
  EXPECT_FALSE(IsRetryable({grpc::StatusCode::INTERNAL, "an internal error"}));
}

}  // namespace
}  // namespace energysites
