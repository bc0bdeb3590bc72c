// Rollups are equal to the sums of their entries, also with concurrent writes. On a real
// PostgreSQL.
#include "storage/live_data/live_data_rollups.h"

#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "storage/sites/site_repository.h"
#include "tests/support/matchers.h"
#include "tests/support/postgres.h"

namespace energysites::storage {
namespace {

using testing_support::DatabaseTest;
using testing_support::IsOk;
using testing_support::kApp;
using testing_support::Proto;

constexpr char kNoon[] = "2024-05-01T12:00:00Z";

TEST(BucketTest, RoundsDown) {
  constexpr int64_t kSecond = 1000000;
  for (const auto& [seconds, bucket] :
       std::vector<std::pair<int64_t, int64_t>>{{0, 0},
                                                {1, 0},
                                                {899, 0},
                                                {900, 900},
                                                {-1, -900},
                                                {-900, -900},
                                                {-901, -1800},
                                                {-62135596800, -62135596800},
                                                {253402300799, 253402299900}}) {
    google::protobuf::Timestamp stamp;
    stamp.set_seconds(seconds);
    EXPECT_EQ(BucketOf(stamp), bucket * kSecond) << seconds;
    stamp.set_nanos(999999999);
    EXPECT_EQ(BucketOf(stamp), bucket * kSecond) << seconds;
  }
}

class RollupsTest : public DatabaseTest {
 protected:
  void SetUp() override {
    const auto site = SiteRepository(session_).Create(
        Proto<v1::CreateSiteRequest>("site { name: 'Mill' location: 'Brno' }"), std::nullopt);
    ASSERT_THAT(site, IsOk());
    site_id_ = site->id();
    Ask("SELECT make_live_data_month('2024-05-01')");
  }

  // An entry `seconds` after noon, and the invalidation of its bucket, as one statement.
  std::string Insertion(int64_t id, int seconds, const std::string& soc,
                        const std::string& load = "1") const {
    return absl::StrCat(
        "WITH entry AS (INSERT INTO live_data (id, site_id, dt_stamp, soc, load_kwh,",
        " net_load_kwh, pv_notification, bio_notification, cro_notification)", " VALUES (", id, ",",
        site_id_, ",timestamptz '", kNoon, "' + interval '", seconds, " seconds',", soc, ",", load,
        ",", load, ",true,", id, "%2=0,false)", " RETURNING site_id, dt_stamp) ", kInvalidation);
  }
  std::string Deletion(int64_t id) const {
    return absl::StrCat("WITH entry AS (DELETE FROM live_data WHERE id = ", id,
                        " RETURNING site_id, dt_stamp) ", kInvalidation);
  }
  int64_t Recompute(int at_once = 100) {
    const auto recomputed = RecomputeStaleBuckets(session_, at_once);
    EXPECT_THAT(recomputed, IsOk());
    return recomputed.value_or(-1);
  }
  // Minutes after noon, count, and what soc and load come to, of all rollups.
  std::string Rollups() const {
    return Ask(
        absl::StrCat("SELECT string_agg(concat_ws(' ', extract(epoch FROM bucket - '", kNoon,
                     "')::int / 60 || ':', entries, soc_min, soc_max, soc_sum, soc_first, soc_last,"
                     " load_kwh_sum, net_load_kwh_last, pv_notifications, bio_notifications,"
                     " cro_notifications), '; ' ORDER BY bucket) FROM live_data_rollups"));
  }
  std::string Invalidations() const { return Ask("SELECT count(*) FROM live_data_dirty_buckets"); }

  static constexpr char kInvalidation[] =
      "INSERT INTO live_data_dirty_buckets"
      " SELECT site_id, date_bin('15 minutes', dt_stamp, '0001-01-01T00:00:00Z') FROM entry";
  Session session_{AppSession()};
  int64_t site_id_ = 0;
};

TEST_F(RollupsTest, FirstAndLastGoByMomentAndThenById) {
  Ask(Insertion(5, 0, "50"));
  Ask(Insertion(4, 0, "40"));
  Ask(Insertion(3, 899, "30"));
  Ask(Insertion(8, 899, "80"));
  Ask(Insertion(7, 60, "10", "2.5"));
  Ask(Insertion(1, 900, "99"));
  EXPECT_EQ(Recompute(), 2);
  EXPECT_EQ(Rollups(),
            "0: 5 10 80 210 40 80 6.5 1 5 2 0; "
            "15: 1 99 99 99 99 99 1 1 1 0 0");
  EXPECT_EQ(Invalidations(), "0");
  EXPECT_EQ(Recompute(), 0);
}

TEST_F(RollupsTest, LateEntriesAndDeletionsAreRecomputed) {
  Ask(Insertion(1, 10, "10"));
  Ask(Insertion(2, 20, "20"));
  EXPECT_EQ(Recompute(), 1);
  Ask(Insertion(3, 5, "30"));
  EXPECT_EQ(Recompute(), 1);
  EXPECT_EQ(Rollups(), "0: 3 10 30 60 30 20 3 1 3 1 0");
  Ask(Deletion(3));
  Ask(Deletion(2));
  EXPECT_EQ(Recompute(), 1);
  EXPECT_EQ(Rollups(), "0: 1 10 10 10 10 10 1 1 1 0 0");
  Ask(Deletion(1));
  EXPECT_EQ(Recompute(), 1);
  EXPECT_EQ(Rollups(), "");
}

TEST_F(RollupsTest, AnOpenTransactionIsIncludedOnceItCommits) {
  Ask(Insertion(1, 10, "10"));
  pqxx::connection connection(Dsn(kApp));
  pqxx::work writer(connection);
  writer.exec(Insertion(2, 20, "20"));
  EXPECT_EQ(Recompute(), 1);
  EXPECT_EQ(Rollups(), "0: 1 10 10 10 10 10 1 1 1 0 0");
  EXPECT_EQ(Recompute(), 0);
  writer.commit();
  EXPECT_EQ(Invalidations(), "1");
  EXPECT_EQ(Recompute(), 1);
  EXPECT_EQ(Rollups(), "0: 2 10 20 30 10 20 2 1 2 1 0");
}

TEST_F(RollupsTest, AreRecomputedInPortionsUntilNoneIsStale) {
  for (int i = 0; i < 3; ++i) Ask(Insertion(i, i * 900, "1"));
  Ask(Insertion(9, 0,
                "1"));  // A second invalidation of the first bucket is deleted with the first.
  // Buckets of another site, before and behind the last one of this.
  const std::string other =
      Ask("INSERT INTO sites (name, location) VALUES ('Weir', 'Brno') RETURNING id");
  Ask(absl::StrCat("INSERT INTO live_data_dirty_buckets SELECT ", other, ", timestamptz '", kNoon,
                   "' + n * interval '15 minutes' FROM generate_series(-1, 3) AS n"));
  Ask(absl::StrCat("INSERT INTO live_data_dirty_buckets VALUES (", other,
                   ", '0001-01-01T00:00:00Z'), (", other, ", '9999-12-31T23:45:00Z')"));
  const auto stale = CountStaleBuckets(session_);
  ASSERT_THAT(stale, IsOk());
  EXPECT_EQ(*stale, 10);
  EXPECT_EQ(Recompute(2), 10);
  EXPECT_EQ(Invalidations(), "0");
  EXPECT_EQ(Rollups(),
            "0: 2 1 1 2 1 1 2 1 2 1 0; "
            "15: 1 1 1 1 1 1 1 1 1 0 0; "
            "30: 1 1 1 1 1 1 1 1 1 1 0");
  EXPECT_EQ(Ask("SELECT count(DISTINCT xmin::text) FROM live_data_rollups"), "2");
  EXPECT_EQ(Recompute(2), 0);
}

// Regression: a portion that timed out was always retried with the same size.
TEST_F(RollupsTest, ATimeoutHalvesThePortionAndItGrowsAgain) {
  constexpr int kSlow = 40;
  constexpr int kFast = 400;
  Ask(
      absl::StrCat("INSERT INTO live_data (id, site_id, dt_stamp, soc, load_kwh, net_load_kwh,"
                   " pv_notification, bio_notification, cro_notification) SELECT n, ",
                   site_id_, ", timestamptz '", kNoon,
                   "' + n * interval '15 minutes', 1, 1, 1, true, true, true"
                   " FROM generate_series(1, ",
                   kSlow + kFast, ") AS n"));
  Ask("WITH entry AS (SELECT site_id, dt_stamp FROM live_data) " + std::string(kInvalidation));
  // More than 10 of the first buckets at once take longer than any timeout.
  Ask(
      absl::StrCat("CREATE FUNCTION wait_for_many() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
                   " IF (SELECT count(*) > 10 AND min(bucket) <= timestamptz '",
                   kNoon, "' + ", kSlow,
                   " * interval '15 minutes' FROM added) THEN PERFORM pg_sleep(60); END IF;"
                   " RETURN NULL; END $$;"
                   " CREATE TRIGGER wait_for_many AFTER INSERT ON live_data_rollups"
                   " REFERENCING NEW TABLE AS added FOR EACH STATEMENT"
                   " EXECUTE FUNCTION wait_for_many()"));
  SessionOptions options = AppSession();
  options.statement_timeout = absl::Seconds(1);
  Session session(options);
  const auto recomputed = RecomputeStaleBuckets(session, 100);
  ASSERT_THAT(recomputed, IsOk());
  EXPECT_EQ(*recomputed, kSlow + kFast);
  EXPECT_EQ(Invalidations(), "0");
  // With portions of 10 it would be 44.
  EXPECT_LT(std::stoi(Ask("SELECT count(DISTINCT xmin::text) FROM live_data_rollups")), 35);
}

TEST_F(RollupsTest, FrozenOnesStayAsTheyAre) {
  Ask(Insertion(1, 0, "10"));
  Ask(Insertion(2, 900, "20"));
  EXPECT_EQ(Recompute(), 2);
  Ask(absl::StrCat("UPDATE live_data_window SET kept_from = '", kNoon,
                   "'::timestamptz + interval '15 minutes'"));
  const std::string frozen = "0: 1 10 10 10 10 10 1 1 1 0 0";
  Ask(Deletion(1));
  Ask(Deletion(2));
  EXPECT_EQ(Recompute(), 2);
  EXPECT_EQ(Rollups(), frozen);
  EXPECT_EQ(Invalidations(), "0");
}

TEST_F(RollupsTest, InvalidationsOfDeletedSitesAreDeleted) {
  Ask(absl::StrCat("INSERT INTO live_data_dirty_buckets VALUES (123456, '", kNoon, "')"));
  Ask(Insertion(1, 0, "10"));
  Ask("UPDATE sites SET delete_time = now()");
  EXPECT_EQ(Recompute(), 2);
  EXPECT_EQ(Rollups(), "");
  EXPECT_EQ(Invalidations(), "0");
}

// One bad bucket must not keep the others from being recomputed.
TEST_F(RollupsTest, ASumThatNoDoubleHoldsIsInfinite) {
  Ask(Insertion(1, 0, "10", "1.7e308"));
  Ask(Insertion(2, 1, "10", "1.7e308"));
  Ask(Insertion(3, 900, "4.9e-324", "4.9e-324"));
  Ask(Insertion(4, 901, "4.9e-324", "4.9e-324"));
  EXPECT_EQ(Recompute(), 2);
  EXPECT_EQ(Rollups(),
            "0: 2 10 10 20 10 10 Infinity 1.7e+308 2 1 0; "
            "15: 2 5e-324 5e-324 1e-323 5e-324 5e-324 1e-323 5e-324 2 1 0");
}

TEST_F(RollupsTest, GoWithTheirSiteInParts) {
  Ask(absl::StrCat("INSERT INTO live_data_rollups SELECT ", site_id_, ", timestamptz '", kNoon,
                   "' + n * interval '15 minutes', 1, 1,1,1,1,1, 1,1,1,1,1, 1,1,1,1,1, 0,0,0"
                   " FROM generate_series(1, 5001) AS n"));
  Ask(absl::StrCat("INSERT INTO live_data_dirty_buckets SELECT ", site_id_, ", '", kNoon,
                   "' FROM generate_series(1, 5001) AS n"));
  v1::DeleteSiteRequest request;
  request.set_id(site_id_);
  SiteRepository sites(session_);
  EXPECT_TRUE(IsUnfinished(sites.Delete(request).status()));
  EXPECT_EQ(Ask("SELECT count(*) FROM live_data_rollups"), "1");
  EXPECT_TRUE(IsUnfinished(sites.Delete(request).status()));
  EXPECT_EQ(Invalidations(), "1");
  EXPECT_THAT(sites.Delete(request), IsOk());
  EXPECT_EQ(Rollups(), "");
  EXPECT_EQ(Invalidations(), "0");
}

}  // namespace
}  // namespace energysites::storage
