// Rollups of live data: what the entries of a site in each quarter of an hour come to, kept beside
// the entries. Whoever changes an entry marks its bucket in the same transaction; refolding makes
// the rollups of marked buckets anew. Until then readers take the entries of a marked bucket.
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

// Makes the rollups of all marked buckets anew, up to `at_once` of them in a transaction, and takes
// their marks away. Fewer for a while after a timeout. A mark whose transaction is still open stays
// for another time, and so may one that is made meanwhile. Buckets before
// live_data_window.kept_from are frozen: their rollups stay as they are. One transaction at a time,
// of all callers; others wait.
//
// Returns how many buckets were settled.
absl::StatusOr<int64_t> RefoldDirtyBuckets(Session& session, int at_once = 1000);

// How many buckets are marked.
absl::StatusOr<int64_t> CountDirtyBuckets(Session& session);

}  // namespace energysites::storage

#endif  // STORAGE_LIVE_DATA_LIVE_DATA_ROLLUPS_H_
