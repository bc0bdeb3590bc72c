// Summaries of live data: the latest entry of sites, and aggregates over time.
#ifndef STORAGE_LIVE_DATA_LIVE_DATA_SUMMARIES_H_
#define STORAGE_LIVE_DATA_LIVE_DATA_SUMMARIES_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "energysites/v1/live_data.pb.h"
#include "storage/postgres/session.h"
#include "storage/postgres/statement.h"

namespace energysites::storage {

// Takes valid requests only. Every method may also return what Session::Transact does.
class LiveDataSummaryRepository {
 public:
  // The session outlives the repository.
  explicit LiveDataSummaryRepository(Session& session) : session_(session) {}
  static Statements AllStatements();

  absl::StatusOr<v1::GetLatestLiveDataResponse> Latest(const v1::GetLatestLiveDataRequest& request);

  // Returns NOT_FOUND with the first of `site_ids` that is unknown or being deleted.
  absl::Status CheckSites(const std::vector<int64_t>& site_ids);

  // Sums up between each two of `boundaries`, which are in microseconds since 1970 and ascend from
  // the request's start to its end; empty for no buckets. Returns NOT_FOUND if a site is unknown
  // or being deleted.
  absl::StatusOr<v1::AggregateLiveDataResponse> Aggregate(
      const v1::AggregateLiveDataRequest& request, const std::vector<int64_t>& boundaries);

 private:
  Session& session_;
};

}  // namespace energysites::storage

#endif  // STORAGE_LIVE_DATA_LIVE_DATA_SUMMARIES_H_
