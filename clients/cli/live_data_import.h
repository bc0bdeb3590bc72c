// Brings the rows of a live data file into the service, several batches at a time.
#pragma once

#include "absl/status/status.h"
#include "clients/cli/connection.h"
#include "clients/cli/csv_file.h"
#include "clients/cli/progress.h"
#include "clients/cli/report.h"
#include "clients/cli/site_index.h"

namespace energysites {

// Stores what is not yet stored (see import.h) and prints the faults of the others, in the order
// of the file. On an error the rows up to some point are stored, and those counted so far are in
// `counts`.
absl::Status ImportLiveData(const Connection& connection, const SiteIndex& sites, CsvFile& file,
                            Progress& progress, Counts& counts);

}  // namespace energysites
