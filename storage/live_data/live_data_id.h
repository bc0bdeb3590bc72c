// Ids of live data entries carry the month of their dt_stamp, so that a look-up by id reads one
// partition: (months since January of year 1) << 46 | n, n from 1 to 2^46 - 1.
#ifndef STORAGE_LIVE_DATA_LIVE_DATA_ID_H_
#define STORAGE_LIVE_DATA_LIVE_DATA_ID_H_

#include <cstdint>
#include <optional>

#include "google/protobuf/timestamp.pb.h"
#include "storage/postgres/moment.h"

namespace energysites::storage {

// Months since January of year 1, UTC.
int64_t MonthOf(const google::protobuf::Timestamp& stamp);

int64_t LiveDataId(int64_t month, int64_t number);

// [begin, end)
struct MonthRange {
  Moment begin;
  Moment end;
};

MonthRange RangeOfMonth(int64_t month);

// The month of an id; nothing if no entry can have it.
std::optional<MonthRange> MonthOfId(int64_t id);

}  // namespace energysites::storage

#endif  // STORAGE_LIVE_DATA_LIVE_DATA_ID_H_
