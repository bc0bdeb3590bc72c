#include "services/rpc/request_hash.h"

#include <set>
#include <string>

#include "energysites/v1/live_data.pb.h"
#include "energysites/v1/sites.pb.h"
#include "gtest/gtest.h"
#include "tests/support/matchers.h"

namespace energysites {
namespace {

using testing_support::Proto;

constexpr char kId[] = "5a8e7f04-0d5a-4a5e-b7a5-3d6a1d1f0a01";

std::string HashOf(const std::string& text) {
  auto request = Proto<v1::CreateSiteRequest>(text);
  if (!request.has_request_id()) request.set_request_id(kId);
  return WriteRequestOf(request, storage::kNoSite)->hash;
}

TEST(RequestHashTest, EqualContentEqualHash) {
  EXPECT_EQ(HashOf("site { name: 'Mill' location: 'Brno' }"),
            HashOf("site { location: 'Brno' name: 'Mill' }"));
  EXPECT_EQ(HashOf("site { name: 'Mill' }").size(), 32u);
}

TEST(RequestHashTest, OtherContentOtherHash) {
  const std::set<std::string> hashes = {
      HashOf(""),
      HashOf("site {}"),
      HashOf("site { name: '' }"),
      HashOf("site { name: 'Mill' }"),
      HashOf("site { name: 'mill' }"),
      HashOf("site { location: 'Mill' }"),
      HashOf("site { name: 'Mill' location: 'Brno' }"),
  };
  EXPECT_EQ(hashes.size(), 7u);
}

TEST(RequestHashTest, OtherTypeOtherHash) {
  EXPECT_NE(RequestHash(v1::CreateSiteRequest()), RequestHash(v1::CreateLiveDataEntryRequest()));
}

TEST(RequestHashTest, IdAndDryRunDoNotCount) {
  EXPECT_EQ(HashOf("site { name: 'Mill' }"), HashOf("site { name: 'Mill' } validate_only: true"));
  EXPECT_EQ(HashOf("site { name: 'Mill' }"),
            HashOf("site { name: 'Mill' } request_id: 'e0000000-0000-4000-8000-000000000000'"));
}

TEST(RequestHashTest, ZeroAndMinusZeroDiffer) {
  v1::LiveDataEntry zero, minus_zero;
  zero.set_soc(0.0);
  minus_zero.set_soc(-0.0);
  EXPECT_NE(RequestHash(zero), RequestHash(minus_zero));
}

TEST(RequestHashTest, NoIdNoMemory) {
  EXPECT_FALSE(WriteRequestOf(v1::CreateSiteRequest(), storage::kNoSite).has_value());
}

}  // namespace
}  // namespace energysites
