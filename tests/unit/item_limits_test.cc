// Lists are counted in the bytes as the validator counts them in the message.
#include "validation/item_limits.h"

#include <algorithm>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "energysites/v1/live_data.pb.h"
#include "energysites/v1/sites.pb.h"
#include "gmock/gmock.h"
#include "google/protobuf/io/zero_copy_stream_impl_lite.h"
#include "gtest/gtest.h"
#include "tests/validation/rules.pb.h"
#include "validation/validator.h"

namespace energysites {
namespace {

using test::Chain;
using test::Rules;
using testing::ElementsAre;
using testing::IsEmpty;
using testing::StartsWith;

std::vector<std::string> Texts(const std::vector<Violation>& violations) {
  std::vector<std::string> texts;
  for (const Violation& violation : violations) {
    texts.push_back(absl::StrCat(violation.field, " ", violation.rule_id, ": ", violation.message));
  }
  return texts;
}

// What is too long in the bytes of a `Type`, which come in blocks that cut everything.
template <typename Type>
std::vector<std::string> TooLong(const std::string& bytes) {
  const absl::StatusOr<ItemLimits> limits = ItemLimits::Compile(*Type::descriptor());
  EXPECT_TRUE(limits.ok()) << limits.status();
  google::protobuf::io::ArrayInputStream input(bytes.data(), static_cast<int>(bytes.size()), 7);
  ViolationList violations;
  limits->TooLong(&input, violations);
  return Texts(violations.TakeAll());
}

// What the validator says of the lengths of lists in the same bytes.
template <typename Type>
std::vector<std::string> SaidByValidator(const std::string& bytes) {
  Type message;
  EXPECT_TRUE(message.ParseFromString(bytes));
  std::vector<Violation> violations = Validator::Compile(*Type::descriptor())->Validate(message);
  violations.erase(std::remove_if(violations.begin(), violations.end(),
                                  [](const Violation& violation) {
                                    return violation.rule_id != "repeated.max_items";
                                  }),
                   violations.end());
  return Texts(violations);
}

std::string Times(int count, const std::string& bytes) {
  std::string all;
  for (int i = 0; i < count; ++i) all += bytes;
  return all;
}

std::string Varint(size_t value) {
  std::string bytes;
  for (; value >= 0x80; value >>= 7) bytes += static_cast<char>(value | 0x80);
  return bytes += static_cast<char>(value);
}

// A field of bytes, a text, a message or packed elements.
std::string Delimited(int number, const std::string& bytes) {
  return Varint(number << 3 | 2) + Varint(bytes.size()) + bytes;
}

// `field(n)` is a `Type` with n elements, of which there may be `most`.
template <typename Type, typename Field>
void ExpectLimit(const std::string& path, int most, const Field& field) {
  EXPECT_THAT(TooLong<Type>(field(most)), IsEmpty()) << path;
  const std::vector<std::string> too_long = TooLong<Type>(field(most + 1));
  EXPECT_THAT(too_long, ElementsAre(absl::StrCat(path, " repeated.max_items: must have at most ",
                                                 most, " items, got ", most + 1)));
  EXPECT_EQ(too_long, SaidByValidator<Type>(field(most + 1)));
}

TEST(ItemLimitsTest, SaysWhatTheValidatorSays) {
  ExpectLimit<v1::BatchCreateLiveDataEntriesRequest>(
      "entries", 10'000, [](int count) { return Times(count, Delimited(1, "")); });
  ExpectLimit<v1::BatchCreateLiveDataEntriesRequest>(
      "entries", 10'000, [](int count) { return Times(count, Delimited(1, "\x08\x01")); });
  ExpectLimit<v1::IngestLiveDataRequest>("batch.entries", 10'000, [](int count) {
    return Delimited(2, "\x08\x01" + Times(count, Delimited(2, "")));
  });
  ExpectLimit<v1::UpdateSiteRequest>("update_mask.paths", 1000, [](int count) {
    return Delimited(1, Delimited(2, "Farm Novák")) +
           Delimited(2, Times(count, Delimited(1, "name")));
  });
  ExpectLimit<v1::ExportLiveDataRequest>("read_mask.paths", 1000, [](int count) {
    return Delimited(4, Times(count, Delimited(1, "")));
  });
}

TEST(ItemLimitsTest, CountsPackedAndUnpackedElements) {
  using Request = v1::WatchLiveDataRequest;
  const std::string unpacked("\x08\x07"), long_id("\xff\xff\xff\xff\xff\xff\xff\xff\x7f");
  ExpectLimit<Request>("site_ids", 1000, [&](int count) { return Times(count, unpacked); });
  ExpectLimit<Request>("site_ids", 1000,
                       [&](int count) { return Delimited(1, Times(count, "\x07")); });
  ExpectLimit<Request>("site_ids", 1000,
                       [&](int count) { return Delimited(1, Times(count, long_id)); });
  ExpectLimit<Request>("site_ids", 1000, [&](int count) {
    return Times(400, unpacked) + Delimited(1, Times(300, long_id)) +
           Delimited(1, Times(count - 700, "\x07"));
  });
  ExpectLimit<Chain>("numbers", 3, [](int count) { return Delimited(1, Times(count, "\x05")); });
  ExpectLimit<Chain>("quads", 3, [](int count) { return Delimited(2, Times(count, "1234")); });
  ExpectLimit<Chain>("quads", 3, [](int count) { return Times(count, "\x15\x31\x32\x33\x34"); });
  ExpectLimit<Chain>("octets", 3, [](int count) { return Delimited(3, Times(count, "12345678")); });
}

TEST(ItemLimitsTest, NamesEachListThatIsTooLong) {
  const std::string bytes = Times(5, Delimited(4, "a")) + Delimited(1, Times(4, "\x05"));
  EXPECT_THAT(TooLong<Chain>(bytes), ElementsAre(StartsWith("numbers "), StartsWith("words ")));
  EXPECT_EQ(TooLong<Chain>(bytes), SaidByValidator<Chain>(bytes));
}

TEST(ItemLimitsTest, MessagesThatComeAgainAreMerged) {
  const std::string half = Times(6000, Delimited(2, ""));
  ExpectLimit<v1::IngestLiveDataRequest>("batch.entries", 10'000, [&](int count) {
    return Delimited(2, half) + Delimited(2, Times(count - 6000, Delimited(2, "")));
  });
}

TEST(ItemLimitsTest, PassesOverWhatIsNoneOfTheFields) {
  using Request = v1::BatchCreateLiveDataEntriesRequest;
  const std::string unknown[] = {
      "\x78\x01",                              // A varint.
      "\x7d\x31\x32\x33\x34",                  // Four bytes,
      "\x79\x31\x32\x33\x34\x35\x36\x37\x38",  // and eight.
      Delimited(15, Times(20, Delimited(1, ""))),
      "\x7b\x7c",  // A group, an empty one, and with one in it.
      "\x7b\x7b\x0a\x01x\x7c\x78\x01\x7c",
      "\x08\x01",  // The number of `entries`, but a varint.
      "\x0d\x31\x32\x33\x34",
  };
  for (const std::string& field : unknown) {
    ExpectLimit<Request>("entries", 10'000, [&](int count) {
      return field + Times(5000, Delimited(1, "")) + field + Times(count - 5000, Delimited(1, "")) +
             field;
    });
  }
}

// The parser has made objects of all that stands before the fault.
TEST(ItemLimitsTest, CountsUpToWhatIsMalformed) {
  using Request = v1::BatchCreateLiveDataEntriesRequest;
  const std::string many = Times(10'001, Delimited(1, "")), few = Times(10'000, Delimited(1, ""));
  const std::string malformed[] = {
      std::string(1, '\0'),        // No tag.
      "\x7b",                      // A group that does not end,
      "\x7b\x74",                  // or as another one,
      "\x7c",                      // and an end of none.
      "\x0e",                      // A wire type that does not exist.
      Times(11, "\x80"),           // An endless varint.
      "\x0a\x7f",                  // Lengths beyond the end,
      "\x0a\xff\xff\xff\xff\x07",  // beyond all,
      "\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
      "\x0a",                    // and none.
      Times(1'000'000, "\x7b"),  // Depth.
  };
  for (const std::string& end : malformed) {
    EXPECT_FALSE(Request().ParseFromString(end)) << end.substr(0, 20);
    EXPECT_THAT(TooLong<Request>(end + many), testing::SizeIs(testing::Le(1)));
    EXPECT_THAT(TooLong<Request>(few.substr(2) + end), IsEmpty());
    EXPECT_THAT(TooLong<Request>(many + end), ElementsAre(StartsWith("entries "))) << end[0];
  }
}

// A parser notices a length that is too much for the message around it only behind that length.
TEST(ItemLimitsTest, CountsInAMessageThatReachesOutOfItsOwn) {
  const std::string entries = Times(10'001, Delimited(2, ""));
  const std::string reaches_out = Varint(2 << 3 | 2) + Varint(1 << 30) + entries;
  EXPECT_THAT(TooLong<v1::IngestLiveDataRequest>(reaches_out),
              ElementsAre(StartsWith("batch.entries ")));
  const std::string chain = Varint(5 << 3 | 2) + Varint(1 << 30) + Delimited(1, "\x05\x05\x05");
  EXPECT_THAT(TooLong<Chain>(chain), IsEmpty());
}

TEST(ItemLimitsTest, LeavesAMessageInItselfToTheValidator) {
  std::string bytes = Delimited(1, Times(4, "\x05"));
  for (int i = 0; i < 50; ++i) bytes = Delimited(5, bytes);
  EXPECT_THAT(TooLong<Chain>(bytes), IsEmpty());
  EXPECT_EQ(SaidByValidator<Chain>(bytes).size(), 1);
}

TEST(ItemLimitsTest, KnowsNoLimitWhereNoneIsDeclared) {
  EXPECT_THAT(TooLong<Rules>(Times(1000, Delimited(61, "word"))), IsEmpty());
  EXPECT_THAT(TooLong<v1::GetSiteRequest>(Times(20'000, Delimited(1, ""))), IsEmpty());
}

}  // namespace
}  // namespace energysites
