// The sites that a caller may use and the check of the sites in a request.
#include "services/admission/caller.h"

#include "energysites/v1/live_data.pb.h"
#include "energysites/v1/sites.pb.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "services/admission/site_scope.h"
#include "tests/support/matchers.h"

namespace energysites {
namespace {

using testing::ElementsAre;
using testing::Optional;
using testing::UnorderedElementsAre;

TEST(ParseSiteIdsTest, ReadsWhatEnvoyPrints) {
  EXPECT_THAT(ParseSiteIds(R"(["1","9223372036854775807"])"),
              Optional(ElementsAre(1, 9223372036854775807)));
  EXPECT_THAT(ParseSiteIds("[ 1, 2.0, 3e2 ]"), Optional(UnorderedElementsAre(1, 2, 300)));
  EXPECT_THAT(ParseSiteIds("[9007199254740991]"), Optional(ElementsAre(9007199254740991)));
  EXPECT_THAT(ParseSiteIds("[]"), Optional(ElementsAre()));
}

TEST(ParseSiteIdsTest, RefusesAllElse) {
  for (const char* text : {"",
                           "1",
                           "\"1\"",
                           "null",
                           "true",
                           "{}",
                           "{\"1\": 1}",
                           "[\"1\"",
                           "[\"1\"] x",
                           "[\"x\"]",
                           "[\"\"]",
                           "[\"0\"]",
                           "[\"-1\"]",
                           "[0]",
                           "[-1]",
                           "[1.5]",
                           "[1e300]",
                           "[null]",
                           "[true]",
                           "[[\"1\"]]",
                           "[{}]",
                           "[9007199254740992]",
                           "[\"9223372036854775808\"]",
                           "[\"+1\"]",
                           "[\" 1\"]",
                           "[\"1\\n\"]",
                           "[\"1 2\"]"}) {
    EXPECT_EQ(ParseSiteIds(text), std::nullopt) << text;
  }
}

std::vector<std::string> ForeignFields(const google::protobuf::Message& request,
                                       absl::string_view path, const Caller& caller) {
  const auto scope = SiteScope::Compile(*request.GetDescriptor(), path);
  EXPECT_TRUE(scope.ok()) << scope.status();
  ViolationList violations;
  scope->Check(request, caller, violations);
  std::vector<std::string> fields;
  for (const Violation& violation : violations.TakeAll()) {
    EXPECT_EQ(violation.rule_id, kSiteNotInToken);
    fields.push_back(violation.field);
  }
  return fields;
}

TEST(SiteScopeTest, FindsEverySiteThatIsNotTheCallers) {
  const Caller meter = {"meter", std::set<int64_t>{1, 2}};
  v1::BatchCreateLiveDataEntriesRequest batch;
  for (const int64_t site : {1, 3, 2, 0}) batch.add_entries()->set_site_id(site);
  EXPECT_THAT(ForeignFields(batch, "entries.site_id", meter),
              ElementsAre("entries[1].site_id", "entries[3].site_id"));
  v1::ExportLiveDataRequest exported;
  EXPECT_THAT(ForeignFields(exported, "site_ids", meter), ElementsAre("site_ids"));
  exported.add_site_ids(2);
  EXPECT_THAT(ForeignFields(exported, "site_ids", meter), ElementsAre());
  exported.add_site_ids(3);
  EXPECT_THAT(ForeignFields(exported, "site_ids", meter), ElementsAre("site_ids[1]"));
  v1::UpdateSiteRequest update;
  EXPECT_THAT(ForeignFields(update, "site.id", meter), ElementsAre("site.id"));
  update.mutable_site()->set_id(1);
  EXPECT_THAT(ForeignFields(update, "site.id", meter), ElementsAre());
  EXPECT_THAT(ForeignFields(update, kAllSites, meter), ElementsAre(""));
}

TEST(SiteScopeTest, ACallerThatIsNotBoundUsesAll) {
  EXPECT_THAT(ForeignFields(v1::ExportLiveDataRequest(), "site_ids", {"admin", std::nullopt}),
              ElementsAre());
  EXPECT_THAT(ForeignFields(v1::ListSitesRequest(), kAllSites, {"", std::nullopt}), ElementsAre());
}

TEST(SiteScopeTest, RefusesAPathThatTheRequestDoesNotHave) {
  for (const char* path : {"site", "site_ids.id", "start_time", "read_mask.paths"}) {
    EXPECT_EQ(SiteScope::Compile(*v1::ExportLiveDataRequest::descriptor(), path).status().code(),
              absl::StatusCode::kInternal)
        << path;
  }
}

}  // namespace
}  // namespace energysites
