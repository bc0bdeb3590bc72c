// Migrations, privileges of the roles, and partitions, on a real PostgreSQL.
#include <algorithm>
#include <future>
#include <limits>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "storage/inserts/live_data_writer.h"
#include "storage/live_data/live_data_repository.h"
#include "storage/migrations/migrator.h"
#include "storage/sites/site_repository.h"
#include "tests/support/matchers.h"
#include "tests/support/postgres.h"

namespace energysites::storage {
namespace {

using testing::HasSubstr;
using testing_support::DatabaseTest;
using testing_support::EqualsProto;
using testing_support::IsOk;
using testing_support::kApp;
using testing_support::kOwner;
using testing_support::PostgresCluster;
using testing_support::Proto;
using testing_support::Query;
using testing_support::SqlStateOf;
using testing_support::StatusIs;

class MigratorTest : public testing::Test {
 protected:
  absl::Status MigrateTo(const std::vector<Migration>& migrations) {
    applied_ = 0;
    return Migrate(dsn_, kApp, migrations, [&](absl::string_view line) {
      if (absl::StrContains(line, "applying")) ++applied_;
    });
  }

  const std::string dsn_ =
      PostgresCluster::Shared().Dsn(kOwner, PostgresCluster::Shared().CreateEmptyDatabase());
  int applied_ = 0;
};

// The real migrations, then one of the test.
std::vector<Migration> MigrationsAnd(const Migration& extra) {
  std::vector<Migration> migrations = Migrations();
  migrations.push_back(extra);
  return migrations;
}
constexpr Migration kExtra = {9000, "9000_extra", "CREATE TABLE extra (id int)"};

TEST_F(MigratorTest, AppliesOnce) {
  EXPECT_THAT(MigrateTo(Migrations()), IsOk());
  EXPECT_EQ(applied_, static_cast<int>(Migrations().size()));
  EXPECT_THAT(MigrateTo(Migrations()), IsOk());
  EXPECT_EQ(applied_, 0);
  EXPECT_THAT(MigrateTo(MigrationsAnd(kExtra)), IsOk());
  EXPECT_EQ(applied_, 1);
}

TEST_F(MigratorTest, RefusesAnAppliedFileThatChanged) {
  ASSERT_THAT(MigrateTo(MigrationsAnd(kExtra)), IsOk());
  EXPECT_THAT(MigrateTo(MigrationsAnd({9000, "9000_extra", "CREATE TABLE extra (id bigint)"})),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("9000_extra")));
}

// Regression: missing migrations were applied before the refusal.
TEST_F(MigratorTest, RefusesADatabaseThatIsNewerAndLeavesItAlone) {
  ASSERT_THAT(MigrateTo(MigrationsAnd(kExtra)), IsOk());
  EXPECT_THAT(MigrateTo(MigrationsAnd({8000, "8000_other", "CREATE TABLE other (id int)"})),
              StatusIs(absl::StatusCode::kFailedPrecondition, HasSubstr("9000_extra")));
  EXPECT_EQ(Query(dsn_, "SELECT to_regclass('other') IS NULL"), "t");
}

TEST_F(MigratorTest, AFailedMigrationLeavesNothing) {
  EXPECT_FALSE(
      MigrateTo(MigrationsAnd({9000, "9000_bad", "CREATE TABLE extra (id int); nonsense"})).ok());
  EXPECT_EQ(Query(dsn_, "SELECT to_regclass('extra') IS NULL"), "t");
  EXPECT_THAT(MigrateTo(MigrationsAnd(kExtra)), IsOk());
}

// Regression: a migration under load failed on a deadlock, and blocked all calls while it waited
// for a long transaction.
TEST_F(MigratorTest, WaitsForOthersAsideFromTheirQueue) {
  ASSERT_THAT(MigrateTo(Migrations()), IsOk());
  pqxx::connection reader(dsn_);
  std::optional<pqxx::work> reading(std::in_place, reader);
  reading->exec("SELECT FROM sites");
  std::promise<void> in_the_way;
  const auto told = [&, once = false](absl::string_view line) mutable {
    if (!absl::StrContains(line, "in the way") || std::exchange(once, true)) return;
    in_the_way.set_value();
  };
  auto migrating = std::async(std::launch::async, [&] {
    return Migrate(dsn_, kApp, MigrationsAnd({9000, "9000_more", "ALTER TABLE sites ADD more int"}),
                   told);
  });
  in_the_way.get_future().wait();
  EXPECT_EQ(Query(dsn_, "SELECT count(*) FROM sites"), "0");
  reading.reset();
  EXPECT_THAT(migrating.get(), IsOk());
  EXPECT_EQ(Query(dsn_, "SELECT count(more) FROM sites"), "0");
}

TEST_F(MigratorTest, TwoRunsAtOnceApplyOnce) {
  const auto run = [this] {
    return Migrate(dsn_, kApp, MigrationsAnd(kExtra), [](absl::string_view) {});
  };
  auto other = std::async(std::launch::async, run);
  EXPECT_THAT(run(), IsOk());
  EXPECT_THAT(other.get(), IsOk());
  EXPECT_EQ(Query(dsn_, "SELECT count(*) FROM schema_migrations"),
            absl::StrCat(Migrations().size() + 1));
}

TEST_F(MigratorTest, TheRetentionCutoffStaysWhereItWas) {
  const std::vector<Migration> before(Migrations().begin(), Migrations().begin() + 3);
  // Without grants, which name functions of later migrations.
  ASSERT_THAT(Migrate(dsn_, "", before, [](absl::string_view) {}), IsOk());
  Query(dsn_, "UPDATE live_data_window SET kept_from = '2020-01-01Z'");
  ASSERT_THAT(MigrateTo(Migrations()), IsOk());
  EXPECT_EQ(Query(dsn_, "SELECT refused_before = '2020-01-01Z' FROM live_data_window"), "t");
  EXPECT_EQ(SqlStateOf(dsn_, "SELECT make_live_data_month('2019-12-01Z')"), "ES001");
}

TEST_F(MigratorTest, ADatabaseThatIsAwayIsUnavailable) {
  EXPECT_THAT(Migrate("host=/nowhere dbname=x", "", Migrations(), [](absl::string_view) {}),
              StatusIs(absl::StatusCode::kUnavailable));
}

using RolesTest = DatabaseTest;

TEST_F(RolesTest, TheAppRoleMayNotChangeTheSchema) {
  for (const char* sql : {"DROP TABLE sites",
                          "TRUNCATE sites CASCADE",
                          "TRUNCATE live_data",
                          "CREATE TABLE t ()",
                          "CREATE SCHEMA s",
                          "ALTER TABLE sites ADD x int",
                          "ALTER TABLE live_data OWNER TO test_app",
                          "CREATE INDEX ON sites (name)",
                          "UPDATE live_data_window SET end_month = 'infinity'",
                          "DELETE FROM live_data_window",
                          "DELETE FROM schema_migrations",
                          "UPDATE schema_migrations SET checksum = ''",
                          "SELECT * FROM live_data_past",
                          "INSERT INTO live_data_future SELECT * FROM live_data",
                          "SELECT setval('live_data_numbers', 1)",
                          "DROP FUNCTION make_live_data_month",
                          "ALTER TABLE live_data DETACH PARTITION live_data_past",
                          "SELECT * FROM pg_authid",
                          "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
                          "COPY sites TO '/tmp/never'",
                          "CREATE ROLE r"}) {
    EXPECT_EQ(SqlStateOf(Dsn(kApp), sql), "42501") << sql;
  }
}

TEST_F(RolesTest, NoOneElseMayMakeMonths) {
  Ask("DROP ROLE IF EXISTS test_stranger; CREATE ROLE test_stranger LOGIN");
  EXPECT_EQ(SqlStateOf(Dsn("test_stranger"), "SELECT public.make_live_data_month(now())"), "42501");
  EXPECT_EQ(SqlStateOf(Dsn("test_stranger"), "SELECT * FROM public.sites"), "42501");
}

class PartitionsTest : public DatabaseTest {
 protected:
  void SetUp() override {
    const auto site = SiteRepository(session_).Create(
        Proto<v1::CreateSiteRequest>("site { name: 'Mill' location: 'Brno' }"), std::nullopt);
    ASSERT_THAT(site, IsOk());
    site_id_ = site->id();
  }
  absl::StatusOr<v1::LiveDataEntry> Create(int64_t seconds, int32_t nanos = 0) {
    v1::CreateLiveDataEntryRequest request;
    auto& entry = *request.mutable_live_data_entry();
    entry = Proto<v1::LiveDataEntry>(
        "soc: 4.9e-324 load_kwh: 1e308 net_load_kwh: 0.1 pv_notification: false "
        "bio_notification: true cro_notification: false");
    entry.set_site_id(site_id_);
    entry.mutable_dt_stamp()->set_seconds(seconds);
    entry.mutable_dt_stamp()->set_nanos(nanos);
    return LiveDataWriter(session_, insert_state_).Create({&request, std::nullopt});
  }
  std::string PartitionOf(const v1::LiveDataEntry& entry) {
    return Ask(absl::StrCat("SELECT tableoid::regclass FROM live_data WHERE id = ", entry.id()));
  }
  int64_t Seconds(const std::string& moment) {
    return std::stoll(Ask("SELECT extract(epoch FROM (" + moment + "))::bigint"));
  }
  int Partitions() {
    return std::stoi(
        Ask("SELECT count(*) FROM pg_inherits WHERE inhparent = 'live_data'::regclass"));
  }

  Session session_{AppSession()};
  SharedInsertState insert_state_;
  int64_t site_id_ = 0;
};

TEST_F(PartitionsTest, NoValidMomentIsRefused) {
  for (const int64_t seconds : std::initializer_list<int64_t>{
           -62135596800, -62135596799, -2208988800, -1, 0, 1456704000, 4102444800, 253402300799}) {
    const auto entry = Create(seconds, 999999999);
    ASSERT_THAT(entry, IsOk()) << seconds;
    EXPECT_EQ(entry->dt_stamp().seconds(), seconds);
    EXPECT_EQ(entry->dt_stamp().nanos(), 999999000);
    const auto stored = LiveDataRepository(session_).GetMany({{site_id_, entry->id()}}).front();
    ASSERT_THAT(stored, IsOk());
    EXPECT_THAT(*stored, EqualsProto(*entry));
  }
}

TEST_F(PartitionsTest, OnlyTheWindowGetsMonths) {
  const int64_t begin = Seconds("SELECT first_month FROM live_data_window");
  const int64_t end = Seconds("SELECT end_month FROM live_data_window");
  EXPECT_EQ(PartitionOf(*Create(begin - 1)), "live_data_past");
  EXPECT_EQ(PartitionOf(*Create(end)), "live_data_far_future");
  EXPECT_EQ(Partitions(), 2);
  EXPECT_THAT(PartitionOf(*Create(begin)), testing::MatchesRegex("live_data_[0-9]{4}_[0-9]{2}"));
  EXPECT_THAT(PartitionOf(*Create(end - 1)), testing::MatchesRegex("live_data_[0-9]{4}_[0-9]{2}"));
  EXPECT_EQ(Partitions(), 4);
}

TEST_F(PartitionsTest, NoCallerMakesMoreThanTheWindowHolds) {
  Query(Dsn(kApp),
        "SELECT make_live_data_month(moment) FROM unnest(ARRAY['-infinity', 'infinity', "
        "'0001-01-01', '4000-01-01 BC', '9999-12-31']::timestamptz[]) AS moment");
  Query(Dsn(kApp), "SELECT make_live_data_month(NULL)");
  EXPECT_EQ(Partitions(), 2);
  Query(Dsn(kApp),
        "SELECT make_live_data_month(now() + step * interval '1 month') "
        "FROM generate_series(-300, 60) AS step");
  EXPECT_EQ(Partitions(), 2 + 22 * 12);
}

// An open export blocks neither the creation of a month nor inserts.
TEST_F(PartitionsTest, AnOpenReadDelaysNothing) {
  ASSERT_THAT(Create(1456704000), IsOk());
  ASSERT_THAT(Create(0), IsOk());
  pqxx::connection connection(Dsn(kApp));
  pqxx::work reader(connection);
  reader.exec("DECLARE export CURSOR FOR SELECT * FROM live_data; FETCH 1 FROM export");
  const absl::Time start = absl::Now();
  EXPECT_THAT(Create(1456704000), IsOk());
  EXPECT_THAT(Create(1459468800), IsOk());
  EXPECT_LT(absl::Now() - start, absl::Seconds(2));
  EXPECT_EQ(Partitions(), 4);
}

// Regression: a forged page token with a time out of range was logged as an INTERNAL error.
TEST_F(PartitionsTest, AMomentOutOfRangeIsAnEndOfTheList) {
  ASSERT_THAT(Create(0), IsOk());
  constexpr int64_t kLeast = std::numeric_limits<int64_t>::min();
  constexpr int64_t kMost = std::numeric_limits<int64_t>::max();
  struct PageCase {
    std::string order_by;
    int64_t moment;
    size_t rows;
  };
  for (const PageCase& page : {PageCase{"dt_stamp", kLeast, 1},
                               {"dt_stamp", kMost, 0},
                               {"dt_stamp desc", kLeast, 0},
                               {"dt_stamp desc", kMost, 1}}) {
    v1::ListLiveDataEntriesRequest request;
    request.set_order_by(page.order_by);
    const auto rows = LiveDataRepository(session_).List(request, {10, {page.moment, 1}});
    ASSERT_THAT(rows, IsOk()) << page.order_by << " " << page.moment;
    EXPECT_EQ(rows->size(), page.rows);
  }
}

// A month that was detached after this process used it is created again.
TEST_F(PartitionsTest, AMonthThatWasDroppedIsMadeAgain) {
  ASSERT_THAT(Create(1456704000), IsOk());
  Query(Dsn(kOwner), "DROP TABLE live_data_2016_02");
  const auto entry = Create(1456704000);
  ASSERT_THAT(entry, IsOk());
  EXPECT_EQ(PartitionOf(*entry), "live_data_2016_02");
}

// Regression: blocks that two sessions reserved at the same time could be used in the wrong order,
// and entries of one batch then had ids that did not ascend.
TEST_F(PartitionsTest, NumbersOfACallAscend) {
  const auto take = [this](size_t count) {
    return session_.Transact([&](pqxx::work& tx) -> absl::StatusOr<std::vector<int64_t>> {
      return insert_state_.TakeNumbers(tx, count);
    });
  };
  Query(Dsn(kOwner), "SELECT setval('live_data_numbers', 5000001)");
  ASSERT_THAT(take(600), IsOk());
  Query(Dsn(kOwner), "SELECT setval('live_data_numbers', 1)");
  const auto numbers = take(600);
  ASSERT_THAT(numbers, IsOk());
  EXPECT_EQ(numbers->front(), 1001);
  EXPECT_EQ(numbers->back(), 5002000);
  EXPECT_TRUE(std::is_sorted(numbers->begin(), numbers->end()));
}

}  // namespace
}  // namespace energysites::storage
