#include "validation/validator.h"

#include <limits>
#include <string>
#include <vector>

#include "buf/validate/validate.pb.h"
#include "energysites/v1/live_data.pb.h"
#include "energysites/v1/sites.pb.h"
#include "gmock/gmock.h"
#include "google/protobuf/descriptor.pb.h"
#include "google/protobuf/text_format.h"
#include "gtest/gtest.h"
#include "tests/validation/rules.pb.h"

namespace energysites {
namespace {

using google::protobuf::Message;
using google::protobuf::TextFormat;
using test::Implicit;
using test::NoUpdate;
using test::Refused;
using test::Rules;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

// Returns the violations of the message in text format, each as "path rule_id".
template <typename Type>
std::vector<std::string> Judge(const std::string& text) {
  Type message;
  EXPECT_TRUE(TextFormat::ParseFromString(text, &message)) << text;
  const absl::StatusOr<Validator> validator = Validator::Compile(*Type::descriptor());
  EXPECT_TRUE(validator.ok()) << validator.status();
  std::vector<std::string> violations;
  for (const Violation& violation : validator->Validate(message)) {
    violations.push_back(violation.field + " " + violation.rule_id);
  }
  return violations;
}

struct RuleCase {
  std::string text;
  std::string violation;  // Empty if the message is valid.
};

TEST(ValidatorTest, JudgesEachRuleAsProtovalidateDoes) {
  const RuleCase kCases[] = {
      {"gt: 1", "gt double.gt"},
      {"gt: 1.0000000000000002", ""},
      {"gt: nan", "gt double.gt"},
      {"gte: 1", ""},
      {"gte: 0.9999999999999999", "gte double.gte"},
      {"gte: nan", "gte double.gte"},
      {"lt: 1", "lt double.lt"},
      {"lt: 0.9999999999999999", ""},
      {"lt: nan", "lt double.lt"},
      {"lte: 1", ""},
      {"lte: 1.0000000000000002", "lte double.lte"},
      {"lte: nan", "lte double.lte"},
      {"gt_lt: 1", "gt_lt double.gt_lt"},
      {"gt_lt: 1.5", ""},
      {"gt_lt: 2", "gt_lt double.gt_lt"},
      {"gt_lt: nan", "gt_lt double.gt_lt"},
      {"gte_lt: 1", ""},
      {"gte_lt: 2", "gte_lt double.gte_lt"},
      {"gt_lte: 1", "gt_lte double.gt_lte"},
      {"gt_lte: 2", ""},
      {"gte_lte: 0.5", "gte_lte double.gte_lte"},
      {"gte_lte: 1", ""},
      {"gte_lte: 2", ""},
      {"gte_lte: 2.5", "gte_lte double.gte_lte"},
      {"outside_gt_lt: 1", "outside_gt_lt double.gt_lt_exclusive"},
      {"outside_gt_lt: 2", "outside_gt_lt double.gt_lt_exclusive"},
      {"outside_gt_lt: 0.5", ""},
      {"outside_gt_lt: 2.5", ""},
      {"outside_gt_lt: nan", "outside_gt_lt double.gt_lt_exclusive"},
      {"outside_gte_lt: 2", ""},
      {"outside_gte_lt: 1", "outside_gte_lt double.gte_lt_exclusive"},
      {"outside_gt_lte: 1", ""},
      {"outside_gt_lte: 2", "outside_gt_lte double.gt_lte_exclusive"},
      {"outside_gte_lte: 1", ""},
      {"outside_gte_lte: 1.5", "outside_gte_lte double.gte_lte_exclusive"},
      {"outside_gte_lte: 2", ""},
      {"outside_gte_lte: nan", "outside_gte_lte double.gte_lte_exclusive"},
      {"equal_gt_lt: 1", "equal_gt_lt double.gt_lt"},
      {"number_in: 2.5", ""},
      {"number_in: 2", "number_in double.in"},
      {"number_in: nan", "number_in double.in"},
      {"finite: 1e308", ""},
      {"finite: inf", "finite double.finite"},
      {"finite: nan", "finite double.finite"},
      {"not_finite: nan", ""},

      {"float_bound: 0.1", ""},
      {"float_bound: 0.10000001", "float_bound float.lte"},
      {"int32_bound: -5", ""},
      {"int32_bound: -6", "int32_bound int32.gte"},
      {"int64_bound: 9223372036854775806", ""},
      {"int64_bound: 9223372036854775807", "int64_bound int64.lt"},
      {"uint32_bound: 4294967295", ""},
      {"uint32_bound: 4294967294", "uint32_bound uint32.gt"},
      {"uint64_bound: 9223372036854775808", ""},
      {"uint64_bound: 9223372036854775809", "uint64_bound uint64.lte"},
      {"sint32_bound: -1", "sint32_bound sint32.gt"},
      {"sint64_bound: -1", "sint64_bound sint64.gt"},
      {"fixed32_bound: 0", "fixed32_bound fixed32.gt"},
      {"fixed64_bound: 0", "fixed64_bound fixed64.gt"},
      {"sfixed32_bound: -1", "sfixed32_bound sfixed32.gt"},
      {"sfixed64_bound: -1", "sfixed64_bound sfixed64.gt"},

      {"len: 'é€'", ""},
      {"len: 'a'", "len string.len"},
      {"len: 'abc'", "len string.len"},
      {"pattern: 'abc'", ""},
      {"pattern: 'abc\\n'", "pattern string.pattern"},
      {"pattern: ''", "pattern string.pattern"},
      {"part: 'abc'", ""},
      {"part: 'ac'", "part string.pattern"},
      {"text_in: 'b'", ""},
      {"text_in: 'c'", "text_in string.in"},
      {"uuid: '6f1c2a4e-8b3d-4c5f-9a7e-0d1b2c3e4f50'", ""},
      {"uuid: '6f1c2a4e-8b3d-4c5f-9a7e-0d1b2c3e4f5'", "uuid string.uuid"},
      {"uuid: ''", "uuid string.uuid_empty"},
      {"not_uuid: 'x'", ""},

      {"after { seconds: 1 nanos: 5 }", "after timestamp.gt"},
      {"after { seconds: 1 nanos: 6 }", ""},
      {"before { nanos: 999999999 }", ""},
      {"before { seconds: 1 }", "before timestamp.lt"},
      {"outside { seconds: 5 }", "outside timestamp.gt_lt_exclusive"},
      {"outside { seconds: 10 }", ""},
      {"plain { nanos: 999999999 }", ""},
      {"plain { nanos: 1000000000 }", "plain timestamp.valid"},
      {"plain { nanos: -1 }", "plain timestamp.valid"},
      {"stamps {} stamps { seconds: -1 }", "stamps[1] timestamp.gte"},
      {"stamps {} stamps { nanos: -1 seconds: 1 }", "stamps[1] timestamp.valid"},

      {"numbers: [1, 2, 3]", ""},
      {"numbers: [1, 0, 3]", "numbers[1] int32.gt"},
      {"numbers: [1, 1, 1, 0]", "numbers repeated.max_items"},
      {"words: ['', 'ab']", ""},
      {"words: ['', 'a']", "words[1] string.min_len"},
      {"ignored { size: -1 }", ""},

      {"tree { size: -1 }", "tree.size int32.gte"},
      {"tree { branches {} branches { branches { size: -1 } } }",
       "tree.branches[1].branches[0].size int32.gte"},
      {"ignored_tree { size: -1 }", ""},
      {"first: 0", "first int32.gt"},
      {"second: ''", "second string.min_len"},
  };
  for (const RuleCase& rule_case : kCases) {
    const std::vector<std::string> expected = rule_case.violation.empty()
                                                  ? std::vector<std::string>{}
                                                  : std::vector<std::string>{rule_case.violation};
    EXPECT_EQ(Judge<Rules>(rule_case.text), expected) << rule_case.text;
  }
}

TEST(ValidatorTest, FieldsWithPresenceAreJudgedOnlyIfSet) {
  EXPECT_THAT(Judge<Rules>(""), IsEmpty());
}

TEST(ValidatorTest, FieldsWithoutPresenceAreAlwaysJudged) {
  EXPECT_THAT(Judge<Implicit>(""), ElementsAre("always int32.gte", "not_empty required",
                                               "some required", "entries required"));
  const std::string valid = "always: 1 not_empty: 'x' some: 0 entries { key: 1 value: 1 } ";
  EXPECT_THAT(Judge<Implicit>(valid), IsEmpty());
  EXPECT_THAT(Judge<Implicit>(valid + "unless_zero: 1 none_or_two: 1"),
              ElementsAre("unless_zero int32.gte", "none_or_two repeated.min_items"));
}

TEST(ValidatorTest, ReportsEveryViolationInOrderOfDeclaration) {
  EXPECT_THAT(Judge<Rules>("tree { size: -1 } gt: 0 numbers: [0, 0] len: ''"),
              ElementsAre("gt double.gt", "len string.len", "numbers[0] int32.gt",
                          "numbers[1] int32.gt", "tree.size int32.gte"));
}

TEST(ValidatorTest, WhatOnlyLooksLikeAnUpdateIsNone) {
  EXPECT_THAT(Judge<NoUpdate>("tree { size: -1 }"), IsEmpty());
}

// A message of 4 MB can hold two million empty entries.
TEST(ValidatorTest, DoesNotJudgeTheElementsOfAListThatIsTooLong) {
  v1::BatchCreateLiveDataEntriesRequest batch;
  for (int i = 0; i < 10'001; ++i) batch.add_entries();
  const auto validator = Validator::Compile(*batch.descriptor());
  EXPECT_THAT(validator->Validate(batch), SizeIs(1));
}

struct MessageCase {
  std::string text;
  std::string message;
};

TEST(ValidatorTest, MessagesSayWhatIsAllowedAndWhatWasSent) {
  const MessageCase kCases[] = {
      {"gte_lte: 2.0000000000000004", "must be from 1 to 2, got 2.0000000000000004"},
      {"gt_lte: nan", "must be greater than 1 and at most 2, got nan"},
      {"outside_gte_lt: 1.5", "must be at least 2 or less than 1, got 1.5"},
      {"number_in: 3", "must be 1 or 2.5, got 3"},
      {"finite: -inf", "must be finite, got -inf"},
      {"int32_bound: -6", "must be at least -5, got -6"},
      {"text_in: 'c\\n\"'", "must be \"a\" or \"b\", got \"c\\n\\\"\""},
      {"len: 'abc'", "must have 2 characters, got \"abc\""},
      {"len: 'A text so long that nobody wants to see it again'",
       "must have 2 characters, got 48 characters"},
      {"uuid: 'x'", "must be a UUID (8-4-4-4-12 hexadecimal digits), got \"x\""},
      {"numbers: [1, 1, 1, 1]", "must have at most 3 items, got 4"},
      {"before { seconds: 1 nanos: 500000000 }",
       "must be less than 1970-01-01T00:00:01Z, got 1970-01-01T00:00:01.5Z"},
      {"plain { nanos: -1 }", "must have nanos from 0 to 999999999, got nanos -1"},
  };
  const auto validator = Validator::Compile(*Rules::descriptor());
  for (const MessageCase& message_case : kCases) {
    Rules rules;
    ASSERT_TRUE(TextFormat::ParseFromString(message_case.text, &rules)) << message_case.text;
    const std::vector<Violation> violations = validator->Validate(rules);
    ASSERT_THAT(violations, SizeIs(1)) << message_case.text;
    EXPECT_EQ(violations[0].message, message_case.message);
  }
}

struct RefusedCase {
  std::string type;   // A message in Refused.
  std::string field;  // Path in that message, or the message itself.
  std::string rule;
};

TEST(ValidatorTest, RefusesEveryOtherRuleNamingFieldAndRule) {
  const std::string field = ".field:";
  const RefusedCase kCases[] = {
      {"FieldCel", field, "rule cel"},
      {"MessageCel", ":", "rule message.cel"},
      {"MessageOneof", ":", "rule message.oneof"},
      {"RequiredOneof", ".choice:", "rule oneof.required"},
      {"Const", field, "rule double.const"},
      {"NotIn", field, "rule int64.not_in"},
      {"Email", field, "rule string.email"},
      {"MinBytes", field, "rule string.min_bytes"},
      {"Bytes", field, "rule bytes.min_len"},
      {"Bool", field, "rule bool.const"},
      {"Enum", field, "rule enum.defined_only"},
      {"Duration", field, "rule duration.gt"},
      {"Now", field, "rule timestamp.lt_now"},
      {"Unique", field, "rule repeated.unique"},
      {"Map", field, "rule map.min_pairs"},
      {"MapValues", field, "values of a map"},
      {"RequiredItems", field, "rule repeated.items.required"},
      {"ItemCel", field, "rule cel"},
      {"Predefined", field, "rule double.is_round"},
      {"WrongType", field, "int64 rules do not fit"},
      {"Wrapper", field, "double rules do not fit"},
      {"BadPattern", field, "rule string.pattern does not compile"},
      {"Nested", "Email.field:", "rule string.email"},
      {"NestedInList", "Email.field:", "rule string.email"},
      {"UpdateResource", "Email.field:", "rule string.email"},
  };
  EXPECT_EQ(static_cast<int>(std::size(kCases)), Refused::descriptor()->nested_type_count());
  for (const RefusedCase& refused : kCases) {
    const auto* type = Refused::descriptor()->FindNestedTypeByName(refused.type);
    ASSERT_NE(type, nullptr) << refused.type;
    const absl::Status status = Validator::Compile(*type).status();
    const std::string name =
        refused.field[0] == 'E' ? "energysites.test.Refused." : type->full_name();
    EXPECT_FALSE(status.ok()) << refused.type;
    EXPECT_THAT(std::string(status.message()),
                AllOf(HasSubstr(name + refused.field), HasSubstr(refused.rule)));
  }
}

// A rule of a newer buf/validate/validate.proto arrives as an unknown field.
TEST(ValidatorTest, RefusesRulesThatItsSchemaDoesNotKnow) {
  struct UnknownCase {
    std::string where;
    std::string rule;
  };
  for (const UnknownCase& unknown :
       {UnknownCase{"field", "rule #900"}, UnknownCase{"string", "rule string.#900"},
        UnknownCase{"items", "rule #900"}}) {
    google::protobuf::FileDescriptorProto file;
    ASSERT_TRUE(TextFormat::ParseFromString(R"pb(
                                              name: "unknown.proto"
                                              syntax: "proto3"
                                              message_type {
                                                name: "M"
                                                field { name: "field" number: 1 type: TYPE_STRING }
                                              })pb",
                                            &file));
    auto* field = file.mutable_message_type(0)->mutable_field(0);
    field->set_label(unknown.where == "items" ? field->LABEL_REPEATED : field->LABEL_OPTIONAL);
    auto* rules = field->mutable_options()->MutableExtension(buf::validate::field);
    Message* target = rules;
    if (unknown.where == "string") target = rules->mutable_string();
    if (unknown.where == "items") target = rules->mutable_repeated()->mutable_items();
    target->GetReflection()->MutableUnknownFields(target)->AddVarint(900, 1);
    google::protobuf::DescriptorPool pool;
    const auto* built = pool.BuildFile(file);
    ASSERT_NE(built, nullptr);
    const absl::Status status = Validator::Compile(*built->message_type(0)).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kUnimplemented);
    EXPECT_THAT(std::string(status.message()),
                AllOf(HasSubstr("M.field:"), HasSubstr(unknown.rule)));
  }
}

TEST(ValidatorTest, CompilesEveryRequestOfTheContract) {
  for (const auto* file :
       {v1::Site::descriptor()->file(), v1::LiveDataEntry::descriptor()->file()}) {
    for (int s = 0; s < file->service_count(); ++s) {
      for (int m = 0; m < file->service(s)->method_count(); ++m) {
        const auto& type = *file->service(s)->method(m)->input_type();
        EXPECT_TRUE(Validator::Compile(type).ok()) << Validator::Compile(type).status();
      }
    }
  }
}

}  // namespace
}  // namespace energysites
