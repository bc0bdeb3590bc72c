// Statements with parameters and results in binary format, on a real PostgreSQL.
#include "storage/postgres/query.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <optional>
#include <random>
#include <stdexcept>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "google/protobuf/empty.pb.h"
#include "gtest/gtest.h"
#include "storage/postgres/session.h"
#include "tests/support/matchers.h"
#include "tests/support/postgres.h"

namespace energysites::storage {
namespace {

using google::protobuf::Empty;
using testing_support::DatabaseTest;
using testing_support::IsOk;

class QueryTest : public DatabaseTest {
 protected:
  // Runs the statement and gives its rows to `check`.
  template <class Check>
  void Run(const Statement& statement, const Parameters& parameters, Check check) {
    EXPECT_THAT(session_
                    .Transact([&](pqxx::work& tx) -> absl::StatusOr<Empty> {
                      check(Query(tx, statement, parameters));
                      return Empty();
                    })
                    .status(),
                IsOk());
  }

  Session session_{AppSession()};
};

constexpr int64_t kLeast = std::numeric_limits<int64_t>::min();
constexpr int64_t kMost = std::numeric_limits<int64_t>::max();

TEST_F(QueryTest, EveryTypeRoundTrips) {
  constexpr Statement kTypes = {"types", R"sql(
    SELECT $1::boolean, $2::integer, $3::bigint, $4::double precision, $5::timestamptz, $6::text,
           $7::bytea, $1::text, $2::text, $3::text, $4::text, $5::text
  )sql"};
  const std::string bytes("\0\xFF", 2);
  const Parameters parameters = {true,
                                 std::numeric_limits<int32_t>::min(),
                                 kLeast,
                                 5e-324,
                                 Moment::BeforeAll(),
                                 std::string("Ř\u2028"),
                                 absl::string_view(bytes)};
  Run(kTypes, parameters, [&](const Rows& rows) {
    ASSERT_EQ(rows.size(), 1);
    EXPECT_TRUE(rows.Bool(0, 0));
    EXPECT_EQ(rows.Int32(0, 1), std::numeric_limits<int32_t>::min());
    EXPECT_EQ(rows.Int64(0, 2), kLeast);
    EXPECT_EQ(rows.Double(0, 3), 5e-324);
    EXPECT_EQ(rows.Stamp(0, 4).microseconds, kLeast);
    EXPECT_EQ(rows.String(0, 5), "Ř\u2028");
    EXPECT_EQ(rows.String(0, 6), bytes);
    const char* const kTexts[] = {"true", "-2147483648", "-9223372036854775808", "5e-324",
                                  "-infinity"};
    for (int i = 0; i < 5; ++i) EXPECT_EQ(rows.String(0, 7 + i), kTexts[i]);
  });
}

TEST_F(QueryTest, NullsRoundTrip) {
  constexpr Statement kNulls = {"nulls", "SELECT $1::bigint, $2::text, $3::text, $4::text IS NULL"};
  Run(kNulls,
      {std::optional<int64_t>(), std::optional<std::string>(), std::optional<std::string>(""),
       std::nullopt},
      [&](const Rows& rows) {
        EXPECT_TRUE(rows.IsNull(0, 0));
        EXPECT_TRUE(rows.IsNull(0, 1));
        EXPECT_FALSE(rows.IsNull(0, 2));
        EXPECT_EQ(rows.String(0, 2), "");
        EXPECT_TRUE(rows.Bool(0, 3));
      });
}

TEST_F(QueryTest, ArraysRoundTrip) {
  constexpr Statement kArrays = {"arrays", R"sql(
    SELECT $1::bigint[]::text, $2::boolean[]::text, $3::text[]::text, $4::bytea[]::text,
           $5::timestamptz[]::text, $6::double precision[]::text
  )sql"};
  Array<int64_t> numbers;
  for (const int64_t number : {kLeast, int64_t{0}, kMost}) numbers.Add(number);
  Array<bool> flags;
  flags.Add(true);
  flags.Add(false);
  Array<absl::string_view> texts;
  texts.Add("a,b");
  texts.Add("");
  Array<Bytea> bytes;
  bytes.Add({absl::string_view("\0\x01", 2)});
  Array<Moment> moments;
  moments.Add(Moment::FromUnixMicroseconds(0));
  moments.Add(Moment::AfterAll());
  const Array<double> none;
  Run(kArrays, {numbers, flags, texts, bytes, moments, none}, [&](const Rows& rows) {
    EXPECT_EQ(rows.String(0, 0), "{-9223372036854775808,0,9223372036854775807}");
    EXPECT_EQ(rows.String(0, 1), "{t,f}");
    EXPECT_EQ(rows.String(0, 2), R"({"a,b",""})");
    EXPECT_EQ(rows.String(0, 3), R"({"\\x0001"})");
    EXPECT_EQ(rows.String(0, 4), R"({"1970-01-01 00:00:00+00",infinity})");
    EXPECT_EQ(rows.String(0, 5), "{}");
  });
}

TEST_F(QueryTest, KeepsEveryBitOfADouble) {
  constexpr Statement kDoubles = {"doubles", R"sql(
    SELECT value FROM unnest($1::double precision[]) WITH ORDINALITY AS sent (value, place)
    ORDER BY place
  )sql"};
  std::mt19937_64 random(20160101);
  std::vector<double> values = {-0.0, 1e308, 5e-324, 0.1};
  while (values.size() < 200'000) {
    // Every fourth one is denormal.
    const uint64_t bits = values.size() % 4 == 0 ? random() & 0x800FFFFFFFFFFFFF : random();
    double value;
    std::memcpy(&value, &bits, sizeof(value));
    if (std::isfinite(value)) values.push_back(value);
  }
  Array<double> array;
  for (const double value : values) array.Add(value);
  Run(kDoubles, {array}, [&](const Rows& rows) {
    ASSERT_EQ(rows.size(), static_cast<int>(values.size()));
    for (int row = 0; row < rows.size(); ++row) {
      const double back = rows.Double(row, 0);
      ASSERT_EQ(std::memcmp(&back, &values[row], sizeof(back)), 0) << values[row];
    }
  });
}

TEST_F(QueryTest, AFieldOfAnotherTypeIsNotRead) {
  constexpr Statement kFields = {"fields", "SELECT 1::integer, NULL::bigint"};
  Run(kFields, {}, [&](const Rows& rows) {
    EXPECT_EQ(rows.Int32(0, 0), 1);
    EXPECT_THROW(rows.Int64(0, 0), std::logic_error);
    EXPECT_THROW(rows.Int64(0, 1), std::logic_error);
    EXPECT_THROW(rows.Text(0, 1), std::logic_error);
    EXPECT_THROW(rows.Int32(1, 0), std::logic_error);
    EXPECT_THROW(rows.Text(1, 0), std::logic_error);
    EXPECT_THROW(rows.Int32(0, 2), std::logic_error);
  });
}

TEST_F(QueryTest, CountsWhatAStatementChanged) {
  constexpr Statement kInsert = {"insert", R"sql(
    INSERT INTO sites (name, location) SELECT 'Mill', 'Brno' FROM generate_series(1, $1)
  )sql"};
  Run(kInsert, {int32_t{3}}, [](const Rows& rows) { EXPECT_EQ(rows.affected(), 3); });
  Run(kInsert, {int32_t{0}}, [](const Rows& rows) { EXPECT_EQ(rows.affected(), 0); });
}

TEST_F(QueryTest, AStatementIsPreparedOnceForAConnection) {
  constexpr Statement kCount = {"count", R"sql(
    SELECT count(*) FROM pg_prepared_statements WHERE name IN ('count', 'other')
  )sql"};
  constexpr Statement kOther = {"other", "SELECT 1"};
  const auto expect = [this](const Statement& statement, int64_t count) {
    Run(statement, {}, [&](const Rows& rows) { EXPECT_EQ(rows.Int64(0, 0), count); });
  };
  expect(kCount, 1);
  Run(kOther, {}, [](const Rows& rows) { EXPECT_EQ(rows.Int32(0, 0), 1); });
  Run(kOther, {}, [](const Rows& rows) { EXPECT_EQ(rows.Int32(0, 0), 1); });
  expect(kCount, 2);
  // A new connection prepares them anew.
  Ask("SELECT pg_terminate_backend(pid, 20000) FROM pg_stat_activity WHERE usename = 'test_app'");
  expect(kCount, 1);
}

// The statement stays prepared although the transaction that first ran it was rolled back.
TEST_F(QueryTest, AStatementOutlivesTheTransactionThatPreparedIt) {
  constexpr Statement kOne = {"one", "SELECT 1"};
  EXPECT_FALSE(session_
                   .Transact([&](pqxx::work& tx) -> absl::StatusOr<Empty> {
                     Query(tx, kOne);
                     return absl::AbortedError("rolled back");
                   })
                   .ok());
  Run(kOne, {}, [](const Rows& rows) { EXPECT_EQ(rows.Int32(0, 0), 1); });
}

}  // namespace
}  // namespace energysites::storage
