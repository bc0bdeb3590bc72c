// Reads all live data of a time range, of any size.
#ifndef STORAGE_LIVE_DATA_LIVE_DATA_EXPORT_H_
#define STORAGE_LIVE_DATA_LIVE_DATA_EXPORT_H_

#include <cstdint>
#include <functional>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "storage/postgres/moment.h"
#include "storage/postgres/session.h"
#include "storage/postgres/statement.h"

namespace energysites::storage {

Statements LiveDataExportStatements();

struct LiveDataRange {
  std::vector<int64_t> site_ids;  // Empty for all.
  Moment begin = Moment::BeforeAll();
  Moment end = Moment::AfterAll();  // Exclusive.
  // Numbers of LiveDataEntry's fields, ascending; not empty.
  std::vector<int> fields;
};

// One row of PostgreSQL's binary COPY, its columns those of LiveDataRange::fields in their order:
// each a length in 32 bits and that many bytes, in network byte order.
using TakeRow = std::function<absl::Status(absl::string_view row)>;

// Passes each entry of `range` to `take_row`, month by month, each month in its own transaction,
// which ends before the next begins. Within a month entries are ordered by (site_id, dt_stamp, id)
// if `range` names sites, and by their place on disk if not.
//
// Returns NOT_FOUND if a site is unknown, what `take_row` returns if that is not OK, or what
// Session::Transact does.
absl::Status ExportLiveData(Session& session, const LiveDataRange& range, const TakeRow& take_row);

}  // namespace energysites::storage

#endif  // STORAGE_LIVE_DATA_LIVE_DATA_EXPORT_H_
