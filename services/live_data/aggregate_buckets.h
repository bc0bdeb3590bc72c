// The buckets of AggregateLiveData.
#ifndef SERVICES_LIVE_DATA_AGGREGATE_BUCKETS_H_
#define SERVICES_LIVE_DATA_AGGREGATE_BUCKETS_H_

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "energysites/v1/live_data.pb.h"

namespace energysites {

// Returns the start times of the buckets of `request`, followed by the end time of the last one, in
// microseconds since 1970. The first and the last value are the start and the end of the request.
// Empty if there are no buckets. `request` must be valid.
//
// A day, week or month begins at its first moment in the local time of the zone. An hour begins at
// each full hour of local time and at each change of the UTC offset. An hour that occurs twice in
// local time therefore has two buckets.
//
// Returns INVALID_ARGUMENT for an unknown time zone (`time_zone.known`), a fixed length of more
// than 366 days (`bucket.length`), or more than 10,000 buckets of all sites (`end_time.buckets`).
absl::StatusOr<std::vector<int64_t>> AggregateBuckets(const v1::AggregateLiveDataRequest& request);

}  // namespace energysites

#endif  // SERVICES_LIVE_DATA_AGGREGATE_BUCKETS_H_
