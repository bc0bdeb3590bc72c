// One line of CSV (RFC 4180), taken apart and put together.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace energysites {

// The fields of `line`, which has no line break. A field may stand in double quotes, with "" for
// a quote inside. INVALID_ARGUMENT for a quote that is not closed or stands where none may.
//
// A field cannot go on in the next line: no text that the service takes holds a line break, and
// so a stray quote spoils one row and not the rest of the file.
absl::StatusOr<std::vector<std::string>> SplitCsvLine(absl::string_view line);

// `text` as a field, in quotes only where it needs them.
std::string CsvField(absl::string_view text);

// The last line of a complete download or export: `# end N rows`.
std::string EndLine(int64_t rows);

// The N of EndLine; nothing for another line. A spreadsheet may have
// added commas and quotes.
std::optional<int64_t> RowsOfEndLine(absl::string_view line);

// `line` without the commas at its end.
absl::string_view WithoutPadding(absl::string_view line);

}  // namespace energysites
