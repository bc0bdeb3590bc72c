// `energy-sites import`: loads CSV files through the public API of the service.
//
// An import may be repeated with the same files any number of times, also after it was interrupted
// or after invalid rows were corrected. Rows that are stored already are not stored again:
// - A site is identified by its name. An existing site is used, whatever its location.
// - A configuration or an entry is stored already if all its fields are equal to those of a stored
//   one (`dt_stamp` of an entry to the microsecond). A row with changed values is therefore stored
//   as a further one.
// - A create has a request id derived from its content, so the service recognizes a create that an
//   interrupted run has left in progress. This covers the time between reading what is stored and
//   storing. It does not depend on how long the service remembers request ids otherwise.
//
// Limits: if equal rows are more than a batch (5,000 rows) apart and rows with another `dt_stamp`
// are between them, a repeated import may treat them as one row. Two concurrent imports of
// different files that share rows may both store them. A file in the order of time is fastest.
#pragma once

#include <ostream>
#include <string>

#include "clients/cli/connection.h"
#include "clients/cli/site_index.h"

namespace energysites {

struct ImportOptions {
  ConnectionOptions connection;
  // Paths of CSV files, plain or gzip; an empty path is skipped.
  std::string sites;
  std::string configurations;
  std::string live_data;
  // If not empty, rows of other sites are errors.
  SiteChoice site;
  bool terminal = false;  // whether `err` of RunImport is a terminal; enables the progress bar
};

// Writes a summary to `out`, and progress and one line for each error in a row to `err`. Returns
// the exit code: 0 if every row is stored, 1 otherwise.
int RunImport(const ImportOptions& options, std::ostream& out, std::ostream& err);

}  // namespace energysites
