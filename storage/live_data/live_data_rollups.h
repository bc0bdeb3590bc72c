// Rollups of live data: what the entries of a site in each quarter of an hour add up to, stored
// beside the entries. A transaction that changes an entry also stores an invalidation, a row of
// live_data_dirty_buckets, which makes the bucket stale. Until a stale bucket is recomputed,
// readers use its entries instead.
#ifndef STORAGE_LIVE_DATA_LIVE_DATA_ROLLUPS_H_
#define STORAGE_LIVE_DATA_LIVE_DATA_ROLLUPS_H_

#include <cstdint>

#include "absl/status/statusor.h"
#include "google/protobuf/timestamp.pb.h"
#include "storage/postgres/session.h"
#include "storage/postgres/statement.h"

namespace energysites::storage {

constexpr int64_t kRollupMicroseconds = int64_t{15} * 60 * 1000000;

Statements LiveDataRollupStatements();

// Where the bucket of a moment begins, in microseconds since 1970.
int64_t BucketOf(int64_t microseconds);
int64_t BucketOf(const google::protobuf::Timestamp& stamp);

// Recomputes the rollups of all stale buckets, up to `at_once` of them in a transaction, and
// deletes their invalidations. Fewer for a while after a timeout. An invalidation whose transaction
// is still open stays for another time, and so may one that is stored meanwhile. Buckets from
// before the retention cutoff (live_data_window.kept_from) are frozen: their rollups stay as they
// are. One transaction at a time, of all callers; others wait.
//
// Returns how many buckets were recomputed.
absl::StatusOr<int64_t> RecomputeStaleBuckets(Session& session, int at_once = 1000);

// How many buckets are stale.
absl::StatusOr<int64_t> CountStaleBuckets(Session& session);

}  // namespace energysites::storage

#endif  // STORAGE_LIVE_DATA_LIVE_DATA_ROLLUPS_H_
