// The fields that an update mask selects; the corpus has the invalid masks.
#include "validation/update_mask.h"

#include <string>
#include <vector>

#include "energysites/v1/configurations.pb.h"
#include "energysites/v1/sites.pb.h"
#include "gmock/gmock.h"
#include "google/protobuf/text_format.h"
#include "gtest/gtest.h"
#include "validation/validator.h"

namespace energysites {
namespace {

using testing::ElementsAre;
using testing::SizeIs;

template <typename Request>
Request Parse(const std::string& text) {
  Request request;
  EXPECT_TRUE(google::protobuf::TextFormat::ParseFromString(text, &request)) << text;
  return request;
}

std::vector<std::string> SettableNames(const google::protobuf::Descriptor& type) {
  const UpdateShape shape = *UpdateShapeOf(type);
  std::vector<std::string> names;
  for (const auto* field : shape.settable) names.push_back(field->name());
  return names;
}

TEST(UpdateMaskTest, KnowsUpdateRequestsByTheirShape) {
  EXPECT_THAT(SettableNames(*v1::UpdateSiteRequest::descriptor()), ElementsAre("name", "location"));
  EXPECT_THAT(SettableNames(*v1::UpdateConfigurationRequest::descriptor()),
              ElementsAre("battery_vendor", "battery_capacity_kwh", "battery_max_power_kw",
                          "production_pv_units", "production_bio_units", "production_cro_units",
                          "production_pv_kwp", "production_cro_kwp"));
  EXPECT_FALSE(UpdateShapeOf(*v1::CreateSiteRequest::descriptor()));
  EXPECT_FALSE(UpdateShapeOf(*v1::Site::descriptor()));
}

TEST(UpdateMaskTest, SelectsFields) {
  struct MaskCase {
    std::string request;
    std::vector<std::string> fields;
  };
  const MaskCase kCases[] = {
      {"site { name: 'a' location: 'b' }", {"name", "location"}},
      {"site { id: 1 etag: 'x' location: 'b' }", {"location"}},
      {"site { name: 'a' } update_mask {}", {"name"}},
      {"site { name: 'a' location: 'b' } update_mask { paths: 'name' }", {"name"}},
      {"site { name: 'a' } update_mask { paths: 'location' paths: 'name' }", {"name", "location"}},
      {"site { name: 'a' } update_mask { paths: 'name' paths: 'name' }", {"name"}},
      {"site { name: 'a' } update_mask { paths: '*' }", {"name", "location"}},
  };
  for (const MaskCase& mask_case : kCases) {
    EXPECT_EQ(FieldsToUpdate(Parse<v1::UpdateSiteRequest>(mask_case.request)), mask_case.fields)
        << mask_case.request;
  }
}

TEST(UpdateMaskTest, SelectsAbsentOptionalFieldsToBeCleared) {
  EXPECT_THAT(FieldsToUpdate(Parse<v1::UpdateConfigurationRequest>(
                  "configuration { site_id: 1 id: 2 } update_mask { paths: 'production_pv_kwp' }")),
              ElementsAre("production_pv_kwp"));
}

TEST(UpdateMaskTest, MessagesTellWhatMayBeChanged) {
  const auto validator = Validator::Compile(*v1::UpdateSiteRequest::descriptor());
  const auto message = [&](const std::string& text) {
    const auto violations = validator->Validate(Parse<v1::UpdateSiteRequest>(text));
    EXPECT_THAT(violations, SizeIs(1)) << text;
    return violations.at(0).message;
  };
  EXPECT_EQ(message("site { id: 1 }"),
            "must name a field, or site must have one of name, location (is a name misspelt?)");
  EXPECT_EQ(message("site { name: 'a' } update_mask { paths: 'id' }"),
            "must name fields among name, location, or be * alone, got \"id\"");
}

// A path of two bytes has a violation of 200 bytes, so their number must be limited.
TEST(UpdateMaskTest, NamesAtMostAHundredBadPaths) {
  auto request = Parse<v1::UpdateSiteRequest>("site { name: 'a' }");
  for (int i = 0; i < 1000; ++i) request.mutable_update_mask()->add_paths("");
  const auto validator = Validator::Compile(*request.descriptor());
  EXPECT_THAT(validator->Validate(request), SizeIs(100));
}

}  // namespace
}  // namespace energysites
