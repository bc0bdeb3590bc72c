#include "services/rpc/page_token.h"

#include <limits>
#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "energysites/v1/configurations.pb.h"
#include "energysites/v1/live_data.pb.h"
#include "energysites/v1/sites.pb.h"
#include "gmock/gmock.h"
#include "google/rpc/error_details.pb.h"
#include "gtest/gtest.h"
#include "tests/support/matchers.h"

namespace energysites {
namespace {

using testing::ElementsAre;
using testing_support::DetailOf;
using testing_support::IsOk;
using testing_support::Proto;
using testing_support::StatusIs;

constexpr int64_t kLeast = std::numeric_limits<int64_t>::min();
constexpr int64_t kMost = std::numeric_limits<int64_t>::max();
constexpr auto kBad = absl::StatusCode::kInvalidArgument;

TEST(PageTokenTest, RoundTrips) {
  const std::vector<int64_t> kKeys[] = {{1}, {0}, {kLeast}, {kMost}, {-1, 1}, {kMost, kLeast}};
  for (const auto& key : kKeys) {
    for (const uint32_t fingerprint : {0u, 1u, 0xFFFFFFFFu}) {
      const auto decoded =
          DecodePageToken(EncodePageToken(fingerprint, key), fingerprint, key.size());
      ASSERT_THAT(decoded, IsOk());
      EXPECT_EQ(*decoded, key);
    }
  }
}

TEST(PageTokenTest, RefusesEveryFlippedBit) {
  std::string bytes;
  ASSERT_TRUE(absl::WebSafeBase64Unescape(EncodePageToken(7, {12, 34}), &bytes));
  for (size_t bit = 0; bit < bytes.size() * 8; ++bit) {
    std::string broken = bytes;
    broken[bit / 8] ^= 1 << bit % 8;
    EXPECT_THAT(DecodePageToken(absl::WebSafeBase64Escape(broken), 7, 2), StatusIs(kBad)) << bit;
  }
}

TEST(PageTokenTest, RefusesEveryFlippedBitOfTheText) {
  const std::string token = EncodePageToken(7, {12, 34});
  for (size_t bit = 0; bit < token.size() * 8; ++bit) {
    std::string broken = token;
    broken[bit / 8] ^= 1 << bit % 8;
    EXPECT_THAT(DecodePageToken(broken, 7, 2), StatusIs(kBad)) << broken;
  }
}

TEST(PageTokenTest, RefusesOtherLengths) {
  const std::string token = EncodePageToken(7, {12, 34});
  for (size_t size = 0; size < token.size(); ++size) {
    EXPECT_THAT(DecodePageToken(token.substr(0, size), 7, 2), StatusIs(kBad)) << size;
    EXPECT_THAT(DecodePageToken(token.substr(token.size() - size), 7, 2), StatusIs(kBad)) << size;
  }
  for (const char* extra : {"=", "==", "A", "AAAA", " ", "\n"}) {
    EXPECT_THAT(DecodePageToken(token + extra, 7, 2), StatusIs(kBad)) << extra;
    EXPECT_THAT(DecodePageToken(extra + token, 7, 2), StatusIs(kBad)) << extra;
  }
  EXPECT_THAT(DecodePageToken(token + std::string(1, '\0'), 7, 2), StatusIs(kBad));
  EXPECT_THAT(DecodePageToken(token, 7, 1), StatusIs(kBad));
  EXPECT_THAT(DecodePageToken(token, 7, 3), StatusIs(kBad));
}

TEST(PageTokenTest, RefusesAForeignToken) {
  const absl::Status refused = DecodePageToken(EncodePageToken(7, {12}), 8, 1).status();
  EXPECT_THAT(refused, StatusIs(kBad));
  EXPECT_EQ(DetailOf<google::rpc::BadRequest>(refused).field_violations(0).field(), "page_token");
}

TEST(PageTokenTest, FingerprintTellsListsApart) {
  const auto fingerprint = [](const char* text) {
    return ListFingerprint(Proto<v1::ListLiveDataEntriesRequest>(text));
  };
  const uint32_t list = fingerprint("site_id: 5");
  EXPECT_EQ(list, fingerprint("site_id: 5 page_size: 7 page_token: 'x'"));
  for (const char* other :
       {"", "site_id: 6", "site_id: 5 order_by: 'dt_stamp'", "site_id: 5 start_time {}",
        "site_id: 5 end_time {}", "site_id: 5 start_time { seconds: 1 }"}) {
    EXPECT_NE(list, fingerprint(other)) << other;
  }
}

// Regression: requests of two types with the same bytes had the same fingerprint.
// ListLiveDataEntries therefore accepted a token of ListConfigurations as a time in 1970.
TEST(PageTokenTest, FingerprintTellsMethodsApart) {
  EXPECT_NE(ListFingerprint(Proto<v1::ListLiveDataEntriesRequest>("site_id: 5")),
            ListFingerprint(Proto<v1::ListConfigurationsRequest>("site_id: 5")));
  EXPECT_NE(ListFingerprint(v1::ListLiveDataEntriesRequest()),
            ListFingerprint(v1::ListConfigurationsRequest()));
  EXPECT_NE(ListFingerprint(v1::ListSitesRequest()),
            ListFingerprint(v1::ListConfigurationsRequest()));
}

TEST(PageTokenTest, BoundsThePageSize) {
  struct SizeCase {
    int asked, given;
  };
  for (const SizeCase& size : {SizeCase{0, 50},
                               {1, 1},
                               {999, 999},
                               {1000, 1000},
                               {1001, 1000},
                               {std::numeric_limits<int>::max(), 1000}}) {
    EXPECT_EQ(EffectivePageSize(size.asked), size.given);
  }
}

// Lists the numbers 1 to `rows` with ListPage. Returns the sizes of the pages.
std::vector<size_t> Walk(int rows, int page_size) {
  v1::ListSitesRequest request;
  request.set_page_size(page_size);
  std::vector<size_t> sizes;
  int64_t last = 0;
  do {
    size_t size = 0;
    const auto token = ListPage(
        request, 1,
        [&](const storage::Page& page) -> absl::StatusOr<std::vector<int64_t>> {
          std::vector<int64_t> numbers;
          int64_t next = page.last_key.empty() ? 1 : page.last_key[0] + 1;
          while (next <= rows && static_cast<int>(numbers.size()) < page.limit) {
            numbers.push_back(next++);
          }
          return numbers;
        },
        [](int64_t number) -> std::vector<int64_t> { return {number}; },
        [&](int64_t number) {
          EXPECT_EQ(number, ++last);
          ++size;
        });
    EXPECT_THAT(token, IsOk());
    request.set_page_token(*token);
    sizes.push_back(size);
  } while (!request.page_token().empty());
  EXPECT_EQ(last, rows);
  return sizes;
}

TEST(PageTokenTest, PagesLoseAndRepeatNothing) {
  EXPECT_THAT(Walk(0, 2), ElementsAre(0u));
  EXPECT_THAT(Walk(1, 2), ElementsAre(1u));
  EXPECT_THAT(Walk(2, 2), ElementsAre(2u));
  EXPECT_THAT(Walk(3, 2), ElementsAre(2u, 1u));
  EXPECT_THAT(Walk(120, 0), ElementsAre(50u, 50u, 20u));
  EXPECT_THAT(Walk(1001, 1001), ElementsAre(1000u, 1u));
}

}  // namespace
}  // namespace energysites
