// Parses and formats single lines of CSV (RFC 4180).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace energysites {

// Returns the fields of `line`, which has no line break. A field may be enclosed in double quotes,
// with "" for a quote inside it. Returns INVALID_ARGUMENT for an unterminated or misplaced quote.
//
// A field cannot continue on the next line: the service accepts no text with a line break. A
// misplaced quote therefore invalidates one row only.
absl::StatusOr<std::vector<std::string>> SplitCsvLine(absl::string_view line);

// Returns `text` as a field, quoted only if necessary.
std::string CsvField(absl::string_view text);

// Returns the last line of a complete download or export: `# end N rows`.
std::string EndLine(int64_t rows);

// Returns N if `line` is an EndLine; ignores commas and quotes that a spreadsheet has added.
std::optional<int64_t> RowsInEndLine(absl::string_view line);

// Returns `line` without the commas at its end.
absl::string_view WithoutTrailingCommas(absl::string_view line);

}  // namespace energysites
