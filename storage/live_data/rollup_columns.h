// The columns of rollups: in SQL, and in the rows that become buckets of an answer.
#ifndef STORAGE_LIVE_DATA_ROLLUP_COLUMNS_H_
#define STORAGE_LIVE_DATA_ROLLUP_COLUMNS_H_

#include <string>

#include "energysites/v1/live_data.pb.h"
#include "storage/postgres/query.h"

namespace energysites::storage {

// The columns of live_data_rollups but for its key (site_id, bucket), each after `prefix`.
std::string RollupColumns(const char* prefix = "");

// The columns of live_data that rollups are computed from.
std::string RolledUpColumns();

// SELECT lists that compute RollupColumns. Sums that no double can hold become Infinity.
// - Of entries, which come in the order of (dt_stamp, id) from a subquery, which array_agg keeps.
std::string RollupOfEntries();
// - Of rollups, but for the columns below.
std::string RollupOfRollups();
// The columns that are those of the first and of the last of the rollups.
std::string FirstColumns();
std::string LastColumns();

// Reads RollupColumns, which begin at `column`, into `bucket`. Averages are set by SetAverages.
void ReadRollup(const Rows& rows, int row, int column, v1::LiveDataBucket& bucket);

// Adds what `later` says to `bucket`, whose entries are older.
void MergeRollup(const v1::LiveDataBucket& later, v1::LiveDataBucket& bucket);

void SetAverages(v1::LiveDataBucket& bucket);

}  // namespace energysites::storage

#endif  // STORAGE_LIVE_DATA_ROLLUP_COLUMNS_H_
