// `energy-sites export`: writes the live data of a site as the CSV that `import` reads.
#pragma once

#include <ostream>
#include <string>

#include "clients/cli/connection.h"
#include "clients/cli/site_index.h"

namespace energysites {

struct ExportOptions {
  ConnectionOptions connection;
  SiteChoice site;
  // RFC 3339; entries at or after the start and before the end. Empty = no limit.
  std::string start_time;
  std::string end_time;
  // Path; empty = `out` of RunExport. Replaced only by a complete export: see OutputFile.
  std::string output;
};

// Writes the entries oldest first, and last the line `# end N rows`. Returns the exit code: 0 if
// all are written, 1 otherwise, with the reason on `err`; then that line is not in `out`.
int RunExport(const ExportOptions& options, std::ostream& out, std::ostream& err);

}  // namespace energysites
