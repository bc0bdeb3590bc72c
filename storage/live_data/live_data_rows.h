// Rows of live_data as messages.
#ifndef STORAGE_LIVE_DATA_LIVE_DATA_ROWS_H_
#define STORAGE_LIVE_DATA_LIVE_DATA_ROWS_H_

#include "energysites/v1/live_data.pb.h"
#include "storage/postgres/query.h"

namespace energysites::storage {

// The entry in `row` of a statement that selects first, in this order: id, site_id, dt_stamp, soc,
// load_kwh, net_load_kwh, pv_notification, bio_notification, cro_notification, create_time.
v1::LiveDataEntry EntryFromRow(const Rows& rows, int row);

// Where the columns of a statement go on behind those.
constexpr int kEntryColumns = 10;

// The entry as it is stored, but for what the server sets (id and create_time).
v1::LiveDataEntry AsStored(const v1::LiveDataEntry& sent);

}  // namespace energysites::storage

#endif  // STORAGE_LIVE_DATA_LIVE_DATA_ROWS_H_
