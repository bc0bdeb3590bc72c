// Imports a file of live data, several batches at a time.
#pragma once

#include "absl/status/status.h"
#include "clients/cli/connection.h"
#include "clients/cli/csv_file.h"
#include "clients/cli/progress.h"
#include "clients/cli/report.h"
#include "clients/cli/site_index.h"

namespace energysites {

// Stores the rows that are not stored yet (see import.h). Prints the errors of invalid rows in the
// order of the file. After an error a leading part of the rows is stored, and `counts` has the rows
// counted so far.
absl::Status ImportLiveData(const Connection& connection, const SiteIndex& sites, CsvFile& file,
                            Progress& progress, Counts& counts);

}  // namespace energysites
