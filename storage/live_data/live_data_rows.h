// Rows of live_data as messages.
#ifndef STORAGE_LIVE_DATA_LIVE_DATA_ROWS_H_
#define STORAGE_LIVE_DATA_LIVE_DATA_ROWS_H_

#include <string>

#include "energysites/v1/live_data.pb.h"
#include "storage/postgres/query.h"

namespace energysites::storage {

// The SELECT list of the statements whose rows EntryFromRow reads.
std::string EntryColumns();
v1::LiveDataEntry EntryFromRow(const Rows& rows, int row);

// The number of these columns.
constexpr int kEntryColumns = 10;

// The entry as it is stored, but for what the server sets (id and create_time).
v1::LiveDataEntry AsStored(const v1::LiveDataEntry& sent);

}  // namespace energysites::storage

#endif  // STORAGE_LIVE_DATA_LIVE_DATA_ROWS_H_
