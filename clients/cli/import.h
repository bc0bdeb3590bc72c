// `energy-sites import`: loads CSV files into the service, as its caller.
//
// An import that was cut off anywhere may be run again with the same files, also after their bad
// rows were mended, and any number of times: what is stored already is not stored again.
// - A site is known by its name: one that exists is used, whatever its location.
// - A configuration or an entry counts as stored if one equal in every field is (in an entry,
//   `dt_stamp` to the microsecond). So a row whose values were changed comes in beside the old one.
// - A create that the cut run left under way bears a request id made of its content, so that the
//   service itself knows it again. This covers the moment between asking what is stored and
//   storing; it does not depend on how long the service remembers request ids otherwise.
//
// Limits: if rows are equal in every field and stand more than a batch (5,000 rows) and another
// `dt_stamp` apart, a second run can take them for one. Of two imports at the same time of
// different files with the same rows, both may store them. A file in the order of time is fastest.
#pragma once

#include <ostream>
#include <string>

#include "clients/cli/connection.h"
#include "clients/cli/site_index.h"

namespace energysites {

struct ImportOptions {
  ConnectionOptions connection;
  // Paths of CSV files, plain or gzip; an empty one is left out.
  std::string sites;
  std::string configurations;
  std::string live_data;
  // If not empty, rows of other sites are refused.
  SiteChoice site;
  bool terminal = false;  // whether `err` of RunImport is one, to draw a bar on
};

// Writes a summary to `out`; progress and one line for each fault of a row to `err`. Returns the
// exit code: 0 if every row is stored, 1 otherwise.
int RunImport(const ImportOptions& options, std::ostream& out, std::ostream& err);

}  // namespace energysites
