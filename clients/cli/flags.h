// The command-line flags of `import` and `export`.
#pragma once

#include "clients/cli/export.h"
#include "clients/cli/import.h"

namespace energysites {

ImportOptions ImportOptionsFromFlags();
ExportOptions ExportOptionsFromFlags();

}  // namespace energysites
