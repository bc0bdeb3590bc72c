#include "services/errors/errors.h"

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "gmock/gmock.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "gtest/gtest.h"
#include "storage/errors/errors.h"
#include "tests/support/matchers.h"

namespace energysites {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;
using testing_support::DetailOf;
using testing_support::StatusIs;

constexpr auto kInvalid = absl::StatusCode::kInvalidArgument;

// The size in HTTP/2 trailers: the message is percent-encoded, the details are in base64.
size_t TrailerBytes(const absl::Status& status) {
  const grpc::Status sent = ToGrpc(status);
  size_t bytes = 4 * ((sent.error_details().size() + 2) / 3);
  for (const char c : sent.error_message()) bytes += c < 0x20 || c > 0x7E || c == '%' ? 3 : 1;
  return bytes;
}

std::vector<Violation> Violations(size_t count, const std::string& message = "must be >= 0") {
  std::vector<Violation> violations;
  for (size_t i = 0; i < count; ++i) {
    violations.push_back({absl::StrCat("entries[", i, "].load_kwh"), "double.gte", message});
  }
  return violations;
}

TEST(ErrorsTest, NamesEveryViolation) {
  const absl::Status status = InvalidRequest(
      {{"site.name", "required", "is required"}, {"site.location", "string.min_len", "is empty"}});
  EXPECT_THAT(status, StatusIs(kInvalid, "site.name: is required; site.location: is empty"));
  const auto bad_request = DetailOf<google::rpc::BadRequest>(status);
  ASSERT_EQ(bad_request.field_violations_size(), 2);
  EXPECT_EQ(bad_request.field_violations(1).field(), "site.location");
  EXPECT_EQ(bad_request.field_violations(1).description(), "is empty");
  EXPECT_EQ(bad_request.field_violations(1).reason(), "string.min_len");
  const auto info = DetailOf<google::rpc::ErrorInfo>(status);
  EXPECT_EQ(info.reason(), "INVALID_REQUEST");
  EXPECT_EQ(info.domain(), "energysites.v1");
}

TEST(ErrorsTest, ManyViolationsFitIntoTrailers) {
  for (const size_t count : {1, 10, 100, 10'000}) {
    for (const std::string& message : {std::string("must be >= 0"), std::string(300, 'x'),
                                       absl::StrReplaceAll(std::string(300, 'x'), {{"x", "ž"}})}) {
      const absl::Status status = InvalidRequest(Violations(count, message));
      EXPECT_LT(TrailerBytes(status), 8000u) << count << " " << message;
      EXPECT_GE(DetailOf<google::rpc::BadRequest>(status).field_violations_size(), 1);
      EXPECT_THAT(std::string(status.message()), HasSubstr("entries[0].load_kwh: "));
    }
  }
  EXPECT_THAT(InvalidRequest(Violations(10'000)),
              StatusIs(kInvalid, HasSubstr("10000 violations in all")));
  EXPECT_THAT(InvalidRequest(Violations(2)), StatusIs(kInvalid, Not(HasSubstr("in all"))));
}

TEST(ErrorsTest, OneHugeViolationIsStillNamed) {
  const absl::Status status = InvalidRequest(Violations(1, std::string(100'000, 'x')));
  EXPECT_LT(TrailerBytes(status), 8000u);
  EXPECT_EQ(DetailOf<google::rpc::BadRequest>(status).field_violations_size(), 1);
  EXPECT_THAT(std::string(status.message()), HasSubstr("entries[0].load_kwh: "));
}

// Regression: the error for an unknown field with a very long name had only the count.
TEST(ErrorsTest, AHugePathIsCutAndNamed) {
  const absl::Status status =
      InvalidRequest({{std::string(100'000, 'x'), "field.known", "is none"}});
  EXPECT_LT(TrailerBytes(status), 8000u);
  const auto bad_request = DetailOf<google::rpc::BadRequest>(status);
  ASSERT_EQ(bad_request.field_violations_size(), 1);
  EXPECT_EQ(bad_request.field_violations(0).field(), std::string(512, 'x'));
  EXPECT_THAT(std::string(status.message()), HasSubstr("x: is none"));
}

// Regression: the error for a batch with unknown sites had 600 KB of trailers, which clients reject
// with their own error.
TEST(ErrorsTest, ManyEntriesWithoutSiteFitIntoTrailers) {
  std::map<int, absl::Status> failures;
  for (int i = 0; i < 10'000; ++i) failures[i] = storage::SiteNotFound(1'000'000'000 + i);
  const absl::Status status = storage::EntriesWithoutSite(failures);
  EXPECT_THAT(status, StatusIs(absl::StatusCode::kNotFound,
                               AllOf(HasSubstr("entries[0].site_id: no site has id 1000000000"),
                                     HasSubstr("and 9999 more"))));
  EXPECT_LT(TrailerBytes(status), 8000u);
  EXPECT_GE(DetailOf<google::rpc::BadRequest>(status).field_violations_size(), 10);
}

TEST(ErrorsTest, MalformedRequestNamesTheType) {
  const absl::Status status = MalformedRequest("energysites.v1.GetSiteRequest");
  EXPECT_THAT(status, StatusIs(kInvalid, HasSubstr("energysites.v1.GetSiteRequest")));
  EXPECT_EQ(DetailOf<google::rpc::ErrorInfo>(status).reason(), "MALFORMED_REQUEST");
}

TEST(ErrorsTest, EveryCodeKeepsItsNumber) {
  for (int code = 1; code <= 16; ++code) {
    const grpc::Status sent = ToGrpc(absl::Status(static_cast<absl::StatusCode>(code), "a text"));
    EXPECT_EQ(static_cast<int>(sent.error_code()), code);
    google::rpc::Status details;
    ASSERT_TRUE(details.ParseFromString(sent.error_details()));
    EXPECT_EQ(details.code(), code);
    EXPECT_EQ(details.message(), sent.error_message());
    if (static_cast<absl::StatusCode>(code) == absl::StatusCode::kInternal) {
      EXPECT_THAT(sent.error_message(), Not(HasSubstr("a text")));
    } else {
      EXPECT_EQ(sent.error_message(), "a text");
    }
  }
  EXPECT_TRUE(ToGrpc(absl::OkStatus()).ok());
}

TEST(ErrorsTest, DetailsOfInternalFaultsStayHere) {
  const grpc::Status sent = ToGrpc(absl::InternalError("42P01: relation \"sites\" is missing"));
  EXPECT_THAT(sent.error_message() + sent.error_details(), Not(HasSubstr("sites")));
}

TEST(ErrorsTest, CarriesDetailsAsAny) {
  google::rpc::Status details;
  ASSERT_TRUE(details.ParseFromString(ToGrpc(storage::SiteNotFound(42)).error_details()));
  ASSERT_EQ(details.details_size(), 1);
  google::rpc::ResourceInfo resource;
  ASSERT_TRUE(details.details(0).UnpackTo(&resource));
  EXPECT_EQ(resource.resource_name(), "42");
}

}  // namespace
}  // namespace energysites
