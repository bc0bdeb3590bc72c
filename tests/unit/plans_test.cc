// The query plans of the statements on live data, which has a partition for each month.
#include <functional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "google/protobuf/empty.pb.h"
#include "gtest/gtest.h"
#include "storage/postgres/session.h"
#include "tests/support/matchers.h"
#include "tests/support/postgres.h"
#include "tests/support/statements.h"

namespace energysites::storage {
namespace {

using google::protobuf::Empty;
using testing::AllOf;
using testing::HasSubstr;
using testing::Not;
using testing_support::AllStatements;
using testing_support::DatabaseTest;
using testing_support::IsOk;

constexpr char kSiteIdId[] = "_site_id_id_idx";
constexpr char kDtStampId[] = "_dt_stamp_id_idx";
constexpr char kKey[] = "_pkey";  // Of site_id, dt_stamp and id.

// A query for an entry or a page in all months.
struct Read {
  std::string call;
  std::string index;  // The suffix of the name of the expected index.
};

const std::vector<Read>& Reads() {
  static const auto& reads = *new std::vector<Read>{
      {"get_live_data_entries('{1}', '{1}', '{2024-01-01Z}', '{2024-02-01Z}')", kSiteIdId},
      {"list_live_data_oldest_first('-infinity', 0, 'infinity', 100)", kDtStampId},
      {"list_live_data_newest_first('infinity', 0, '-infinity', 100)", kDtStampId},
      {"list_live_data_of_site_oldest_first('-infinity', 0, 'infinity', 100, 1)", kKey},
      {"list_live_data_of_site_newest_first('infinity', 0, '-infinity', 100, 1)", kKey},
      {"get_latest_live_data('{1}')", kKey},
  };
  return reads;
}

class PlansTest : public DatabaseTest {
 protected:
  PlansTest() {
    Ask("INSERT INTO sites (name, location) SELECT 'Farm', 'Brno' FROM generate_series(1, 3)");
    for (int month = 1; month <= 3; ++month) {
      Ask(absl::StrCat("SELECT make_live_data_month('2024-0", month, "-01Z')"));
    }
    // What it says of tables that are empty or small stays true for the planner until the next one.
    Ask("VACUUM ANALYZE live_data, sites");
  }

  // Entries of three sites, stored in the order of the expression `order` of their number n.
  void Fill(const std::string& order) {
    Ask("INSERT INTO live_data (id, site_id, dt_stamp, soc, load_kwh, net_load_kwh,"
        " pv_notification, bio_notification, cro_notification)"
        " SELECT n, 1 + n % 3, '2024-01-01Z'::timestamptz + n * interval '2 minutes', 1, 1, 1,"
        " false, false, false FROM generate_series(1, 60000) AS n ORDER BY " +
        order);
    Ask("VACUUM ANALYZE live_data");
  }

  // A statement is prepared when a connection first runs it.
  static void Prepare(pqxx::work& tx) {
    for (const Statement* statement : AllStatements()) {
      tx.exec(absl::StrCat("PREPARE ", statement->name, " AS ", statement->sql));
    }
  }

  static std::string PlanOf(pqxx::work& tx, const std::string& call) {
    std::string lines;
    for (const auto& row : tx.exec("EXPLAIN EXECUTE " + call)) {
      absl::StrAppend(&lines, row[0].c_str(), "\n");
    }
    return lines;
  }

  // Runs `body` in a session of the app role.
  absl::Status Try(const SessionOptions& options, const std::function<void(pqxx::work&)>& body) {
    Session session(options);
    return session
        .Transact([&](pqxx::work& tx) -> absl::StatusOr<Empty> {
          body(tx);
          return Empty();
        })
        .status();
  }

  // Checks that every query uses its index. Indexes of empty tables are not distinguished.
  void ExpectPlans(bool any_index = false) {
    EXPECT_THAT(Try(AppSession(),
                    [&](pqxx::work& tx) {
                      Prepare(tx);
                      for (const Read& read : Reads()) ExpectPlan(tx, read, any_index);
                    }),
                IsOk());
  }

  static void ExpectPlan(pqxx::work& tx, const Read& read, bool any_index) {
    const std::string plan = PlanOf(tx, read.call);
    EXPECT_THAT(plan,
                AllOf(HasSubstr("Index"), Not(HasSubstr("Seq Scan")), Not(HasSubstr("Bitmap"))))
        << read.call;
    for (const char* index : {kSiteIdId, kDtStampId, kKey}) {
      if (any_index || index == read.index) continue;
      EXPECT_THAT(plan, Not(HasSubstr(absl::StrCat(index, " on live_data_2024")))) << read.call;
    }
  }
};

TEST_F(PlansTest, ReadsOfEmptyMonthsUseIndexes) { ExpectPlans(/*any_index=*/true); }

TEST_F(PlansTest, ReadsUseTheirIndexesWhateverTheOrderOfRows) {
  Fill("hashint4(n)");
  ExpectPlans();
}

// Regression: with few sites, the query for a site scanned the entries of all sites.
TEST_F(PlansTest, ReadsUseTheirIndexesWhereRowsCameInOrder) {
  Fill("n");
  ExpectPlans();
}

// Regression: with some years of partitions PostgreSQL planned most calls again, which took ten
// times as long as their execution.
TEST_F(PlansTest, APlanIsMadeOnce) {
  Fill("n");
  std::string counted;
  EXPECT_THAT(Try(AppSession(),
                  [&](pqxx::work& tx) {
                    Prepare(tx);
                    for (const Read& read : Reads()) {
                      for (int i = 0; i < 10; ++i) tx.exec("EXECUTE " + read.call);
                    }
                    counted = tx.exec1(
                                    "SELECT sum(generic_plans) || ' generic, ' || sum(custom_plans)"
                                    " FROM pg_prepared_statements")[0]
                                  .c_str();
                  }),
              IsOk());
  EXPECT_EQ(counted, absl::StrCat(Reads().size() * 10, " generic, 0"));
}

// An export reads most of a month; an index scan would be slower.
TEST_F(PlansTest, ExportsMayReadTablesFromEndToEnd) {
  Fill("n");
  SessionOptions options = AppSession();
  options.scans_tables = true;
  std::string plan;
  EXPECT_THAT(Try(options,
                  [&](pqxx::work& tx) {
                    plan = tx.exec(
                                 "EXPLAIN SELECT * FROM live_data WHERE dt_stamp >= '2024-01-01Z'"
                                 " AND dt_stamp < '2024-02-01Z'")[0][0]
                               .c_str();
                  }),
              IsOk());
  EXPECT_THAT(plan, HasSubstr("Seq Scan"));
}

}  // namespace
}  // namespace energysites::storage
