// `energy-sites export`: writes the live data of a site as the CSV that `import` reads.
#pragma once

#include <ostream>
#include <string>

#include "services/client/connection.h"

namespace energysites {

struct ExportOptions {
  ConnectionOptions connection;
  // Name or id. Digits are an id, or a name where no site has that id.
  std::string site;
  // RFC 3339; entries at or after the start and before the end. Empty = no limit.
  std::string start_time;
  std::string end_time;
  std::string output;  // path; empty = `out` of RunExport
};

// Writes the entries oldest first, page by page. Returns the exit code: 0 if all are written, 1
// otherwise, with the reason on `err`; then the output, if any, is incomplete.
int RunExport(const ExportOptions& options, std::ostream& out, std::ostream& err);

}  // namespace energysites
