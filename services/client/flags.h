// The command-line flags of `import` and `export`.
#pragma once

#include "services/client/export.h"
#include "services/client/import.h"

namespace energysites {

ImportOptions ImportOptionsFromFlags();
ExportOptions ExportOptionsFromFlags();

}  // namespace energysites
