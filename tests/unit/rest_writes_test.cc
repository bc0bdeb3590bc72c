// Unknown fields in the bodies of REST calls.
#include "services/rest_body/rest_writes.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "energysites/v1/configurations.pb.h"
#include "energysites/v1/live_data.pb.h"
#include "energysites/v1/sites.pb.h"
#include "gmock/gmock.h"
#include "google/rpc/error_details.pb.h"
#include "gtest/gtest.h"

namespace energysites {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class RestWritesTest : public testing::Test {
 protected:
  // The rejected fields with `reason`; `{"no JSON"}` for invalid JSON.
  std::vector<std::string> Refused(const std::string& method, const std::string& path,
                                   const std::string& body,
                                   const std::string& reason = "field.known") {
    const absl::Status status = writes_.Check(method, path, body);
    if (status.ok()) return {};
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
    google::rpc::BadRequest bad_request;
    const auto payload = status.GetPayload("type.googleapis.com/google.rpc.BadRequest");
    if (!payload.has_value()) return {"no JSON"};
    EXPECT_TRUE(bad_request.ParseFromString(std::string(*payload)));
    std::vector<std::string> fields;
    for (const auto& violation : bad_request.field_violations()) {
      EXPECT_EQ(violation.reason(), reason);
      fields.push_back(violation.field());
    }
    return fields;
  }

  const RestWrites writes_{{v1::Site::descriptor()->file()->service(0),
                            v1::Configuration::descriptor()->file()->service(0),
                            v1::LiveDataEntry::descriptor()->file()->service(0)}};
};

TEST_F(RestWritesTest, NamesEveryUnknownField) {
  EXPECT_THAT(Refused("POST", "/v1/sites", R"({"name": "x", "nmae": "y", "a": {"b": [{}]}})"),
              ElementsAre("site.nmae", "site.a"));
  EXPECT_THAT(Refused("PATCH", "/v1/sites/7?update_mask=name", R"({"Name": "x"})"),
              ElementsAre("site.Name"));
  EXPECT_THAT(Refused("POST", "/v1/sites/7/configurations", R"({"production_pv_kw": 1})"),
              ElementsAre("configuration.production_pv_kw"));
  EXPECT_THAT(
      Refused("PATCH", "/v1/sites/7/configurations/8", R"({"production_pv_kw": 1, "etag": "1"})"),
      ElementsAre("configuration.production_pv_kw"));
  EXPECT_THAT(Refused("POST", "/v1/liveData", R"({"sco": 1, "dt_stamp": "t"})"),
              ElementsAre("live_data_entry.sco"));
  EXPECT_THAT(
      Refused("POST", "/v1/liveData:batchCreate",
              R"({"entries": [{"soc": 1}, {"sco": 1}, {"loads": [1, {"x": 2}], "sco": 2}],
                          "return_partial_sucess": true})"),
      ElementsAre("entries[1].sco", "entries[2].loads", "entries[2].sco", "return_partial_sucess"));
}

// Regression: a call with a misspelt validate_only deleted the resource.
TEST_F(RestWritesTest, ADeletesBodyIsTheRequest) {
  EXPECT_THAT(Refused("DELETE", "/v1/sites/7", R"({"validate_onli": true, "etagg": "1"})"),
              ElementsAre("validate_onli", "etagg"));
  EXPECT_THAT(Refused("DELETE", "/v1/sites/7?etag=1", R"({"validateOnly": true})"), ElementsAre());
  EXPECT_THAT(Refused("DELETE", "/v1/sites/7", ""), ElementsAre());
}

// Regression: {"second": 1714564800} was stored as the begin of 1970.
TEST_F(RestWritesTest, ATimeIsNoObject) {
  EXPECT_THAT(Refused("POST", "/v1/liveData", R"({"dt_stamp": {"second": 1}, "create_time": {}})",
                      "json.text"),
              ElementsAre("live_data_entry.dt_stamp", "live_data_entry.create_time"));
  EXPECT_THAT(
      Refused("POST", "/v1/liveData:batchCreate",
              R"({"entries": [{"dt_stamp": "t"}, {"dtStamp": {"seconds": [{}]}}]})", "json.text"),
      ElementsAre("entries[1].dtStamp"));
}

// Regression: DELETE /v1/sites/13?id=12 deleted 12.
TEST_F(RestWritesTest, WhatIsInThePathIsNotInTheQuery) {
  EXPECT_THAT(Refused("DELETE", "/v1/sites/13?x=1&id=12", "", "path.once"), ElementsAre("id"));
  EXPECT_THAT(Refused("PATCH", "/v1/sites/3?site%2Eid=4&update_mask=name", "{}", "path.once"),
              ElementsAre("site.id"));
  EXPECT_THAT(Refused("DELETE", "/v1/sites/3/liveData/4?siteId=5&id", "", "path.once"),
              ElementsAre("siteId", "id"));
  EXPECT_THAT(
      Refused("PATCH", "/v1/sites/3/configurations/4?configuration.siteId=5", "{}", "path.once"),
      ElementsAre("configuration.siteId"));
  EXPECT_THAT(Refused("DELETE", "/v1/sites/13?etag=id&validate_only=true", ""), ElementsAre());
  EXPECT_THAT(Refused("POST", "/v1/liveData?live_data_entry.site_id=3", "{}"), ElementsAre());
}

TEST_F(RestWritesTest, FindsThePathsThatEnvoyFinds) {
  for (const char* path : {"/v1/liveData%3AbatchCreate", "/v1/liveData:batch%43reate/",
                           "/v1/liveData/batchCreate", "/v1//liveData:batchCreate?x=/v1/sites"}) {
    const bool doubled = absl::StrContains(path, "//");
    EXPECT_EQ(Refused("POST", path, R"({"x": 1})").empty(), doubled) << path;
  }
}

TEST_F(RestWritesTest, KnowsFieldsByBothTheirNames) {
  EXPECT_THAT(Refused("POST", "/v1/liveData:batchCreate",
                      R"({"requestId": "x", "validate_only": true, "entries":
                          [{"siteId": 1, "dt_stamp": "t", "loadKwh": null, "net_load_kwh": []}]})"),
              ElementsAre());
}

TEST_F(RestWritesTest, LeavesToEnvoyWhatIsNoBodyOfTheContract) {
  EXPECT_THAT(Refused("POST", "/v1/sites", ""), ElementsAre());
  EXPECT_THAT(Refused("POST", "/v1/sites", " \n"), ElementsAre());
  EXPECT_THAT(Refused("POST", "/v1/sites", "null"), ElementsAre());
  EXPECT_THAT(Refused("PUT", "/v1/sites", R"({"nmae": "y"})"), ElementsAre());
  EXPECT_THAT(Refused("POST", "/v1/sites/7", R"({"nmae": "y"})"), ElementsAre());
  EXPECT_THAT(Refused("POST", "/v2/sites", R"({"nmae": "y"})"), ElementsAre());
}

// Envoy's parser takes more than JSON: what is no JSON could hide a field from this check.
TEST_F(RestWritesTest, RefusesWhatIsNoJson) {
  const std::string deep(200, '[');
  for (const std::string& body :
       {std::string("{"), std::string("{nmae: 1}"), std::string("{'nmae': 1}"),
        std::string(R"({"name": "x"} {"nmae": 1})"), std::string(R"({"name": "x",})"),
        std::string("{\"name\": \"\xff\"}"), std::string("\0{}", 3), deep, std::string("7"),
        std::string("\"x\""), std::string("[]"), std::string("[{\"nmae\": 1}]")}) {
    EXPECT_THAT(Refused("POST", "/v1/sites", body), ElementsAre("no JSON")) << body;
  }
}

// Regression: a byte order mark was an "Invalid value", and a gzip body "has a U+0000".
TEST_F(RestWritesTest, SaysWhyABodyIsNoJsonAndWhatToSend) {
  const std::string json = R"({"name": "x"})";
  const std::string long_type = "a/\xFF" + std::string(200, 'x');
  std::string utf16;
  for (const char c : json) utf16 += {c, '\0'};
  const BodyHeaders kForm = {"application/x-www-form-urlencoded", ""};
  const struct {
    std::string body;
    BodyHeaders headers;
    std::string text;
  } cases[] = {
      {"\xEF\xBB\xBF" + json, {}, "begins with a byte order mark"},
      {std::string("\x1F\x8B\x08\x00", 4), {"", "gzip"}, "(Content-Encoding: gzip)"},
      {std::string("\x1F\x8B\x08\x00", 4), {}, "the bytes are gzip"},
      {"\x0B\x02\x80", {"application/json", "br"}, "send it uncompressed"},
      {utf16, {}, "UTF-16"},
      {"\xFF\xFE" + utf16, {"application/json", "identity"}, "UTF-16"},
      {std::string(1, '\0') + utf16.substr(0, utf16.size() - 1), {}, "UTF-16"},
      {"name=x", {"application/x-www-form-urlencoded", ""}, "it is application/x-www-form-urlen"},
      {"<a/>", {long_type, ""}, "it is a/\\xff" + std::string(97, 'x') + "; "},
      {"<a/>", {"text/xml; charset=utf-8", ""}, "it is text/xml; send JSON with Content-Type"},
      {"{\"name\": \"\xE9\"}", {"application/json; charset=latin1", ""}, "send UTF-8 (byte "},
      {std::string("{\"name\": \"\0\"}", 13), {}, "has a U+0000 (byte 10)"},
      {"{\"name\": ", {"application/json", ""}, "Invalid value. (byte 9)"},
      // What begins as JSON has a fault of JSON, whatever its type is said to be.
      {R"({"name":"a","location":"x",})", kForm, "Missing a name for object member. (byte 27)"},
      {" \n{\"name\" \"a\"}", kForm, "Missing a colon"},
      {"[1,]", {"text/plain", ""}, "Invalid value. (byte 3)"},
      {json + "x", kForm, "must not be followed by other values. (byte 13)"},
      {"{\"name\": \"\xE9\"}", kForm, "send UTF-8 (byte "},
      {"nullable=x", kForm, "it is application/x-www-form-urlencoded"},
      {"true=x", kForm, "it is application/x-www-form-urlencoded"},
      // Text is not compressed, whatever its encoding is said to be.
      {R"({"name":"a",})", {"application/json", "gzip"}, "Missing a name for object member. (byte"},
      {"\xEF\xBB\xBF" + json, {"application/json", "br"}, "begins with a byte order mark"},
      {"name=x", {"application/x-www-form-urlencoded", "br"}, "it is application/x-www-form-urlen"},
  };
  for (const auto& one : cases) {
    const absl::Status status = writes_.Check("POST", "/v1/sites", one.body, one.headers);
    EXPECT_TRUE(absl::IsInvalidArgument(status));
    EXPECT_THAT(std::string(status.message()), HasSubstr(one.text));
  }
  // The headers alone refuse nothing.
  EXPECT_TRUE(writes_.Check("POST", "/v1/sites", json, {"text/plain", "gzip"}).ok());
}

// Regression: some dozens were named, as many as fit into the trailers of a gRPC answer.
TEST_F(RestWritesTest, NamesAThousandUnknownFieldsAndCountsAll) {
  const auto entries = [](int count) {
    std::string body = "{\"entries\":[";
    for (int i = 0; i < count; ++i) absl::StrAppend(&body, i == 0 ? "" : ",", "{\"sco\":1}");
    return body + "]}";
  };
  std::vector<std::string> all;
  for (int i = 0; i < 1000; ++i) all.push_back(absl::StrCat("entries[", i, "].sco"));
  EXPECT_EQ(Refused("POST", "/v1/liveData:batchCreate", entries(1000)), all);
  EXPECT_EQ(Refused("POST", "/v1/liveData:batchCreate", entries(100'000)), all);
  const absl::Status status = writes_.Check("POST", "/v1/liveData:batchCreate", entries(100'000));
  EXPECT_THAT(std::string(status.message()), HasSubstr("(100000 violations in all)"));
}

}  // namespace
}  // namespace energysites
