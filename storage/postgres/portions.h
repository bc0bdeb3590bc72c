// Work on many rows, in portions that fit into the statement timeout.
#ifndef STORAGE_POSTGRES_PORTIONS_H_
#define STORAGE_POSTGRES_PORTIONS_H_

#include <algorithm>
#include <cstdint>
#include <limits>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "storage/errors/errors.h"

namespace energysites::storage {

// Calls `portion` (int limit -> StatusOr<int64_t>), which handles up to `limit` rows in a
// transaction and returns how many, until it handles fewer, or `max_portions` times. The limit is
// `largest` at first. It is halved after a portion that runs into a timeout, and grows again after
// others.
//
// Returns the sum.
template <class Portion>
absl::StatusOr<int64_t> InPortions(int largest, Portion portion,
                                   int max_portions = std::numeric_limits<int>::max()) {
  int limit = largest;
  int64_t sum = 0;
  for (int i = 0; i < max_portions; ++i) {
    const absl::StatusOr<int64_t> done = portion(limit);
    // A portion on a connection that was abandoned may still be done.
    if (absl::IsDeadlineExceeded(done.status()) && !IsDatabaseSilent(done.status()) && limit > 1) {
      limit /= 2;
      continue;
    }
    if (!done.ok()) return done.status();
    sum += *done;
    if (*done < limit) break;
    // Slowly: each timeout costs as much time as many portions.
    limit = std::min(largest, limit + limit / 10 + 1);
  }
  return sum;
}

}  // namespace energysites::storage

#endif  // STORAGE_POSTGRES_PORTIONS_H_
