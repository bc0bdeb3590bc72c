// The buckets of AggregateLiveData.
#ifndef SERVICES_LIVE_DATA_AGGREGATE_BUCKETS_H_
#define SERVICES_LIVE_DATA_AGGREGATE_BUCKETS_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "energysites/v1/live_data.pb.h"

namespace energysites {

// Where the buckets of `request`, a valid one, begin, and last where they end, in microseconds
// since 1970: the first and the last are the request's start and end. Empty for no bucket.
//
// A day, week or month begins at the first moment that the clocks of the zone show it, an hour
// whenever they show a full one or are changed: an hour that the clocks show twice is two buckets.
//
// Returns INVALID_ARGUMENT for an unknown time zone (`time_zone.known`), a fixed length of more
// than 366 days (`bucket.length`), or more than 10,000 buckets of all sites (`end_time.buckets`).
absl::StatusOr<std::vector<int64_t>> AggregateBuckets(const v1::AggregateLiveDataRequest& request);

}  // namespace energysites

#endif  // SERVICES_LIVE_DATA_AGGREGATE_BUCKETS_H_
