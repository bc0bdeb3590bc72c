#include "clients/cli/csv.h"

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"

namespace energysites {
namespace {

// Removes a quoted field from the front of `rest`, which begins after the opening quote.
absl::StatusOr<std::string> ParseQuoted(absl::string_view& rest) {
  std::string field;
  while (true) {
    const size_t quote = rest.find('"');
    if (quote == absl::string_view::npos) {
      return absl::InvalidArgumentError("a quoted field is not terminated");
    }
    field.append(rest.data(), quote);
    rest.remove_prefix(quote + 1);
    if (rest.empty() || rest.front() != '"') return field;
    field.push_back('"');
    rest.remove_prefix(1);
  }
}

absl::StatusOr<std::string> ParseUnquoted(absl::string_view& rest) {
  const absl::string_view field = rest.substr(0, rest.find(','));
  if (field.find('"') != absl::string_view::npos) {
    return absl::InvalidArgumentError("an unquoted field contains a quote");
  }
  rest.remove_prefix(field.size());
  return std::string(field);
}

}  // namespace

absl::StatusOr<std::vector<std::string>> SplitCsvLine(absl::string_view line) {
  std::vector<std::string> fields;
  while (true) {
    const bool quoted = !line.empty() && line.front() == '"';
    if (quoted) line.remove_prefix(1);
    absl::StatusOr<std::string> field = quoted ? ParseQuoted(line) : ParseUnquoted(line);
    if (!field.ok()) return field.status();
    fields.push_back(*std::move(field));
    if (line.empty()) return fields;
    if (line.front() != ',') return absl::InvalidArgumentError("text follows a closing quote");
    line.remove_prefix(1);
  }
}

std::string CsvField(absl::string_view text) {
  if (text.find_first_of(",\"\r\n") == absl::string_view::npos) return std::string(text);
  return absl::StrCat("\"", absl::StrReplaceAll(text, {{"\"", "\"\""}}), "\"");
}

std::string EndLine(int64_t rows) { return absl::StrCat("# end ", rows, " rows"); }

std::optional<int64_t> RowsInEndLine(absl::string_view line) {
  // Fast path for rows.
  if (!absl::StartsWith(line, "# end ") && !absl::StartsWith(line, "\"# end ")) return std::nullopt;
  const absl::StatusOr<std::vector<std::string>> fields = SplitCsvLine(line);
  if (!fields.ok()) return std::nullopt;
  for (size_t i = 1; i < fields->size(); ++i) {
    if (!(*fields)[i].empty()) return std::nullopt;
  }
  absl::string_view text = fields->front();
  int64_t rows = 0;
  if (!absl::ConsumePrefix(&text, "# end ") || !absl::ConsumeSuffix(&text, " rows") ||
      !absl::SimpleAtoi(text, &rows)) {
    return std::nullopt;
  }
  return rows;
}

absl::string_view WithoutTrailingCommas(absl::string_view line) {
  return line.substr(0, line.find_last_not_of(',') + 1);
}

}  // namespace energysites
