// The counts in the serialized message are equal to those of the validator in the parsed message.
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

// The violations in a serialized `Type`, which is read in blocks of one byte.
template <typename Type>
std::vector<std::string> FindOversizedLists(const std::string& bytes) {
  const absl::StatusOr<ItemLimits> limits = ItemLimits::Compile(*Type::descriptor());
  EXPECT_TRUE(limits.ok()) << limits.status();
  google::protobuf::io::ArrayInputStream input(bytes.data(), static_cast<int>(bytes.size()), 7);
  ViolationList violations;
  limits->FindOversizedLists(&input, violations);
  return Texts(violations.TakeAll());
}

// The violations of `max_items` that the validator finds in the same bytes.
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

// A length-delimited field: bytes, a string, a message or packed elements.
std::string Delimited(int number, const std::string& bytes) {
  return Varint(number << 3 | 2) + Varint(bytes.size()) + bytes;
}

// `field(n)` is a `Type` with n elements; `most` is the maximum.
template <typename Type, typename Field>
void ExpectLimit(const std::string& path, int most, const Field& field) {
  EXPECT_THAT(FindOversizedLists<Type>(field(most)), IsEmpty()) << path;
  const std::vector<std::string> too_long = FindOversizedLists<Type>(field(most + 1));
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
  EXPECT_THAT(FindOversizedLists<Chain>(bytes),
              ElementsAre(StartsWith("numbers "), StartsWith("words ")));
  EXPECT_EQ(FindOversizedLists<Chain>(bytes), SaidByValidator<Chain>(bytes));
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
      "\x7d\x31\x32\x33\x34",                  // Fixed 32 bits.
      "\x79\x31\x32\x33\x34\x35\x36\x37\x38",  // Fixed 64 bits.
      Delimited(15, Times(20, Delimited(1, ""))),
      "\x7b\x7c",  // An empty group, and one with a nested group.
      "\x7b\x7b\x0a\x01x\x7c\x78\x01\x7c",
      "\x08\x01",  // The number of `entries` with the wire type varint.
      "\x0d\x31\x32\x33\x34",
  };
  for (const std::string& field : unknown) {
    ExpectLimit<Request>("entries", 10'000, [&](int count) {
      return field + Times(5000, Delimited(1, "")) + field + Times(count - 5000, Delimited(1, "")) +
             field;
    });
  }
}

// The parser has created the objects before the encoding error.
TEST(ItemLimitsTest, CountsUpToWhatIsMalformed) {
  using Request = v1::BatchCreateLiveDataEntriesRequest;
  const std::string many = Times(10'001, Delimited(1, "")), few = Times(10'000, Delimited(1, ""));
  const std::string malformed[] = {
      std::string(1, '\0'),        // An invalid tag.
      "\x7b",                      // A group without an end.
      "\x7b\x74",                  // A group with the end of another one.
      "\x7c",                      // An end without a group.
      "\x0e",                      // An invalid wire type.
      Times(11, "\x80"),           // A varint that is too long.
      "\x0a\x7f",                  // A length beyond the end.
      "\x0a\xff\xff\xff\xff\x07",  // The maximum length.
      "\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
      "\x0a",                    // A missing length.
      Times(1'000'000, "\x7b"),  // Depth.
  };
  for (const std::string& end : malformed) {
    EXPECT_FALSE(Request().ParseFromString(end)) << end.substr(0, 20);
    EXPECT_THAT(FindOversizedLists<Request>(end + many), testing::SizeIs(testing::Le(1)));
    EXPECT_THAT(FindOversizedLists<Request>(few.substr(2) + end), IsEmpty());
    EXPECT_THAT(FindOversizedLists<Request>(many + end), ElementsAre(StartsWith("entries ")))
        << end[0];
  }
}

// A parser detects a length that exceeds the enclosing message only after that many bytes.
TEST(ItemLimitsTest, CountsInAMessageThatReachesOutOfItsOwn) {
  const std::string entries = Times(10'001, Delimited(2, ""));
  const std::string reaches_out = Varint(2 << 3 | 2) + Varint(1 << 30) + entries;
  EXPECT_THAT(FindOversizedLists<v1::IngestLiveDataRequest>(reaches_out),
              ElementsAre(StartsWith("batch.entries ")));
  const std::string chain = Varint(5 << 3 | 2) + Varint(1 << 30) + Delimited(1, "\x05\x05\x05");
  EXPECT_THAT(FindOversizedLists<Chain>(chain), IsEmpty());
}

TEST(ItemLimitsTest, LeavesAMessageInItselfToTheValidator) {
  std::string bytes = Delimited(1, Times(4, "\x05"));
  for (int i = 0; i < 50; ++i) bytes = Delimited(5, bytes);
  EXPECT_THAT(FindOversizedLists<Chain>(bytes), IsEmpty());
  EXPECT_EQ(SaidByValidator<Chain>(bytes).size(), 1);
}

TEST(ItemLimitsTest, KnowsNoLimitWhereNoneIsDeclared) {
  EXPECT_THAT(FindOversizedLists<Rules>(Times(1000, Delimited(61, "word"))), IsEmpty());
  EXPECT_THAT(FindOversizedLists<v1::GetSiteRequest>(Times(20'000, Delimited(1, ""))), IsEmpty());
}

}  // namespace
}  // namespace energysites
