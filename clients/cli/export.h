// `energy-sites export`: writes the live data of a site as CSV that `import` reads.
#pragma once

#include <ostream>
#include <string>

#include "clients/cli/connection.h"
#include "clients/cli/site_index.h"

namespace energysites {

struct ExportOptions {
  ConnectionOptions connection;
  SiteChoice site;
  // RFC 3339; entries at or after the start and before the end. Empty = no bound.
  std::string start_time;
  std::string end_time;
  // Path; empty = `out` of RunExport. Replaced only by a complete export: see OutputFile.
  std::string output;
};

// Writes the entries, oldest first, and then the line `# end N rows`. Returns the exit code: 0 if
// everything is written, 1 otherwise. After an error the reason is on `err` and the output has no
// end line.
int RunExport(const ExportOptions& options, std::ostream& out, std::ostream& err);

}  // namespace energysites
