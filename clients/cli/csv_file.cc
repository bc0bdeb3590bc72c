#include "clients/cli/csv_file.h"

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "clients/cli/csv.h"
#include "clients/cli/utf8.h"

namespace energysites {
namespace {

constexpr size_t kBufferBytes = 256 << 10;
// Far above the length of a valid row; bounds the memory for a file that is not CSV.
constexpr size_t kMaxLineBytes = 64 << 10;
constexpr absl::string_view kByteOrderMark = "\xEF\xBB\xBF";

constexpr absl::string_view kSaveAsUtf8 = "save it as \"CSV UTF-8\" and import that file";

// Returns an error text for `name`, which is not in `columns`.
std::string UnknownColumn(const std::string& name, const std::vector<CsvColumn>& columns,
                          const std::string& expected) {
  const auto similar =
      std::find_if(columns.begin(), columns.end(), [&name](const CsvColumn& column) {
        return absl::EqualsIgnoreCase(column.name, absl::StripAsciiWhitespace(name));
      });
  if (similar == columns.end())
    return absl::StrCat("unknown column ", Quoted(name), "; ", expected);
  return absl::StrCat("column ", Quoted(name), " must be written ", similar->name);
}

}  // namespace

absl::StatusOr<std::unique_ptr<CsvFile>> CsvFile::Open(std::string path,
                                                       const std::vector<CsvColumn>& columns) {
  absl::StatusOr<std::unique_ptr<InputFile>> file = InputFile::Open(std::move(path));
  if (!file.ok()) return file.status();
  std::unique_ptr<CsvFile> csv(new CsvFile(*std::move(file)));
  absl::Status header = csv->ReadHeader(columns);
  if (!header.ok()) return header;
  return csv;
}

absl::Status CsvFile::ReadHeader(const std::vector<CsvColumn>& columns) {
  absl::StatusOr<bool> read = ReadLine();
  if (!read.ok()) return read.status();
  const auto error = [this](auto... text) {
    return absl::InvalidArgumentError(absl::StrCat(path(), ":1: ", text...));
  };
  std::vector<std::string> names;
  for (const CsvColumn& column : columns) {
    if (column.kind != CsvColumn::kDownload) names.emplace_back(column.name);
  }
  const std::string expected = absl::StrCat("the header must be ", absl::StrJoin(names, ","));
  if (!*read) return error("the file is empty; ", expected);
  const absl::string_view line = absl::StripPrefix(line_, kByteOrderMark);
  if (absl::StrContains(line, '\r')) {
    return error(
        "the lines end with CR alone (\"CSV (Macintosh)\"), and must end with LF or CRLF; ",
        kSaveAsUtf8);
  }
  for (const auto& [separator, name] : {std::pair(';', "semicolons"), std::pair('\t', "tabs")}) {
    if (absl::StrContains(line, separator) && !absl::StrContains(line, ',')) {
      return error("the columns are separated by ", name,
                   "; the separator must be a comma, and numbers must have a decimal point");
    }
  }
  absl::StatusOr<std::vector<std::string>> header = SplitCsvLine(WithoutTrailingCommas(line));
  if (!header.ok()) return error(header.status().message());

  for (size_t i = 0; i < header->size(); ++i) {
    const std::string& name = (*header)[i];
    const auto column = std::find_if(columns.begin(), columns.end(),
                                     [&name](const CsvColumn& each) { return each.name == name; });
    if (column == columns.end()) {
      return error(UnknownColumn(name, columns, expected));
    }
    if (std::find(header->begin(), header->begin() + i, name) != header->begin() + i) {
      return error("column ", name, " is repeated");
    }
    last_detects_truncation_ = column->detects_truncation;
    needs_end_line_ = needs_end_line_ || column->kind == CsvColumn::kDownload;
  }
  for (const CsvColumn& column : columns) {
    const auto found = std::find(header->begin(), header->end(), column.name);
    if (found == header->end()) {
      const bool of_this_kind =
          column.kind != (needs_end_line_ ? CsvColumn::kNotDownload : CsvColumn::kDownload);
      if (column.required && of_this_kind) {
        return error("column ", column.name, " is missing; ", expected);
      }
      from_.emplace_back(std::nullopt);
    } else {
      from_.emplace_back(found - header->begin());
    }
  }
  width_ = header->size();
  return absl::OkStatus();
}

absl::StatusOr<std::optional<CsvRow>> CsvFile::Next() {
  do {
    absl::StatusOr<bool> read = ReadLine();
    if (!read.ok()) return read.status();
    if (!*read) {
      if (absl::Status end = CheckEnd(std::nullopt); !end.ok()) return end;
      return std::nullopt;
    }
  } while (WithoutTrailingCommas(line_).empty() && !too_long_);
  if (const std::optional<int64_t> stated_rows = RowsInEndLine(line_); stated_rows.has_value()) {
    if (absl::Status end = CheckEnd(stated_rows); !end.ok()) return end;
    return std::nullopt;
  }

  ++rows_;
  CsvRow row;
  row.line = line_number_;
  if (too_long_) {
    row.status = absl::InvalidArgumentError(
        absl::StrCat("the line is longer than ", kMaxLineBytes, " bytes"));
    return row;
  }
  absl::StatusOr<std::vector<std::string>> fields = SplitCsvLine(line_);
  if (!fields.ok()) {
    row.status = fields.status();
    return row;
  }
  // A further comma, a closing quote or the type of the column proves that the last field is
  // complete.
  const bool may_be_cut = !has_line_end_ && fields->size() == width_ &&
                          !absl::EndsWith(line_, "\"") &&
                          !(last_detects_truncation_ && !fields->back().empty());
  while (fields->size() > width_ && fields->back().empty()) fields->pop_back();
  if (fields->size() != width_) {
    row.status = absl::InvalidArgumentError(
        absl::StrCat("must have ", width_, " columns, has ", fields->size(),
                     fields->size() < width_
                         ? ""
                         : "; numbers must have a decimal point, and a text with a comma must "
                           "be in double quotes"));
  } else {
    if (may_be_cut) {
      warning_ = absl::StrCat(path(), ":", line_number_,
                              ": warning: the last line has no line end and its last field is ",
                              Quoted(fields->back()),
                              "; if the file was truncated, that field is incomplete");
    }
    for (const std::optional<size_t>& from : from_) {
      row.fields.push_back(from.has_value() ? std::move((*fields)[*from]) : std::string());
    }
  }
  return row;
}

absl::Status CsvFile::CheckEnd(std::optional<int64_t> stated_rows) {
  if (!stated_rows.has_value()) {
    if (!std::exchange(needs_end_line_, false)) return absl::OkStatus();
    return absl::DataLossError(
        absl::StrCat(path(), ": the download is incomplete: the file ends after line ",
                     line_number_, " without the line \"# end N rows\"; download it again"));
  }
  needs_end_line_ = false;
  const int64_t end_line = line_number_;
  if (*stated_rows != rows_) {
    return absl::DataLossError(absl::StrCat(path(), ":", end_line, ": the download had ",
                                            *stated_rows, " rows, the file has ", rows_,
                                            "; download it again"));
  }
  while (true) {
    absl::StatusOr<bool> read = ReadLine();
    if (!read.ok()) return read.status();
    if (!*read) return absl::OkStatus();
    if (!WithoutTrailingCommas(line_).empty() || too_long_) {
      return absl::DataLossError(absl::StrCat(path(), ":", line_number_,
                                              ": data after the end line (line ", end_line, ")"));
    }
  }
}

absl::StatusOr<bool> CsvFile::ReadLine() {
  line_.clear();
  too_long_ = false;
  has_line_end_ = false;
  bool any = false;
  while (!has_line_end_) {
    if (position_ == buffer_.size()) {
      buffer_.resize(kBufferBytes);
      const absl::StatusOr<size_t> count = file_->Read(buffer_.data(), kBufferBytes);
      position_ = 0;
      buffer_.resize(count.ok() ? *count : 0);
      if (!count.ok()) return count.status();
      if (*count == 0) break;
    }
    any = true;
    const size_t stop = buffer_.find('\n', position_);
    const size_t end = std::min(stop, buffer_.size());
    const size_t room = kMaxLineBytes - line_.size();
    too_long_ = too_long_ || end - position_ > room;
    line_.append(buffer_, position_, std::min(end - position_, room));
    position_ = std::min(end + 1, buffer_.size());
    has_line_end_ = stop != std::string::npos;
  }
  if (!any) return false;
  ++line_number_;
  if (absl::Status status = CheckEncoding(); !status.ok()) return status;
  if (!line_.empty() && line_.back() == '\r') line_.pop_back();
  return true;
}

absl::Status CsvFile::CheckEncoding() const {
  if (line_number_ == 1 &&
      (absl::StartsWith(line_, "\xFF\xFE") || absl::StartsWith(line_, "\xFE\xFF") ||
       absl::StrContains(line_, '\0'))) {
    return absl::InvalidArgumentError(
        absl::StrCat(path(), ": the file is UTF-16 or binary; it must be UTF-8; ", kSaveAsUtf8));
  }
  const size_t valid = ValidUtf8Length(line_);
  // A truncated line may end inside a character.
  if (too_long_ || valid == line_.size()) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      path(), ":", line_number_, ": byte ",
      absl::StrFormat("0x%02X", static_cast<unsigned char>(line_[valid])), " at position ",
      valid + 1, " is not UTF-8; the file may be Windows-1252: ", kSaveAsUtf8));
}

}  // namespace energysites
