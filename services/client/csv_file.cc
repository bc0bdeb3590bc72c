#include "services/client/csv_file.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "services/client/csv.h"

namespace energysites {
namespace {

constexpr size_t kBufferBytes = 256 << 10;
// No row of ours comes near; a file that is no CSV must not fill the memory.
constexpr size_t kMaxLineBytes = 64 << 10;
constexpr absl::string_view kByteOrderMark = "\xEF\xBB\xBF";

// The number of `# end N rows`, which DownloadLiveData writes last.
std::optional<int64_t> RowsOfEnd(absl::string_view line) {
  int64_t rows = 0;
  if (!absl::ConsumePrefix(&line, "# end ") || !absl::ConsumeSuffix(&line, " rows") ||
      !absl::SimpleAtoi(line, &rows)) {
    return std::nullopt;
  }
  return rows;
}

}  // namespace

absl::StatusOr<std::unique_ptr<CsvFile>> CsvFile::Open(std::string path,
                                                       const std::vector<CsvColumn>& columns) {
  std::unique_ptr<CsvFile> csv(new CsvFile(std::move(path)));
  // zlib tells gzip from plain text by the first bytes.
  csv->file_.reset(gzopen(csv->path_.c_str(), "rb"));
  struct stat status = {};
  if (csv->file_ == nullptr || stat(csv->path_.c_str(), &status) != 0) {
    return absl::NotFoundError(absl::StrCat(csv->path_, ": ", std::strerror(errno)));
  }
  gzbuffer(csv->file_.get(), kBufferBytes);
  csv->is_regular_ = S_ISREG(status.st_mode);
  if (csv->is_regular_) csv->size_ = static_cast<double>(status.st_size);
  absl::Status header = csv->ReadHeader(columns);
  if (!header.ok()) return header;
  return csv;
}

absl::Status CsvFile::ReadHeader(const std::vector<CsvColumn>& columns) {
  absl::StatusOr<bool> read = ReadLine();
  if (!read.ok()) return read.status();
  const auto error = [this](auto... text) {
    return absl::InvalidArgumentError(absl::StrCat(path_, ":1: ", text...));
  };
  std::vector<std::string> names;
  for (const CsvColumn& column : columns) {
    if (column.kind != CsvColumn::kOfDownloads) names.emplace_back(column.name);
  }
  const std::string expected = absl::StrCat("the header must be ", absl::StrJoin(names, ","));
  if (!*read) return error("the file is empty; ", expected);
  absl::StatusOr<std::vector<std::string>> header =
      SplitCsvLine(absl::StripPrefix(line_, kByteOrderMark));
  if (!header.ok()) return error(header.status().message());

  for (size_t i = 0; i < header->size(); ++i) {
    const std::string& name = (*header)[i];
    const auto column = std::find_if(columns.begin(), columns.end(),
                                     [&name](const CsvColumn& each) { return each.name == name; });
    if (column == columns.end()) {
      return error("unknown column \"", absl::Utf8SafeCEscape(name.substr(0, 80)), "\"; ",
                   expected);
    }
    if (std::find(header->begin(), header->begin() + i, name) != header->begin() + i) {
      return error("column ", name, " stands twice");
    }
    must_end_ = must_end_ || column->kind == CsvColumn::kOfDownloads;
  }
  for (const CsvColumn& column : columns) {
    const auto place = std::find(header->begin(), header->end(), column.name);
    if (place == header->end()) {
      const bool of_this_kind =
          column.kind != (must_end_ ? CsvColumn::kOfOthers : CsvColumn::kOfDownloads);
      if (column.required && of_this_kind) {
        return error("column ", column.name, " is missing; ", expected);
      }
      from_.emplace_back(std::nullopt);
    } else {
      from_.emplace_back(place - header->begin());
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
  } while (line_.empty() && !too_long_);
  if (const std::optional<int64_t> rows_said = RowsOfEnd(line_); rows_said.has_value()) {
    if (absl::Status end = CheckEnd(rows_said); !end.ok()) return end;
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
  } else if (fields->size() != width_) {
    row.status = absl::InvalidArgumentError(
        absl::StrCat("must have ", width_, " columns, has ", fields->size()));
  } else {
    for (const std::optional<size_t>& from : from_) {
      row.fields.push_back(from.has_value() ? std::move((*fields)[*from]) : std::string());
    }
  }
  return row;
}

absl::Status CsvFile::CheckEnd(std::optional<int64_t> rows_said) {
  if (!rows_said.has_value()) {
    if (!std::exchange(must_end_, false)) return absl::OkStatus();
    return absl::DataLossError(absl::StrCat(
        path_, ": this is part of a download: it stops after line ", line_number_,
        " without the line \"# end N rows\" that a complete one ends with; download it again"));
  }
  must_end_ = false;
  const int64_t end_line = line_number_;
  if (*rows_said != rows_) {
    return absl::DataLossError(absl::StrCat(path_, ":", end_line, ": the download had ", *rows_said,
                                            " rows, the file has ", rows_, "; download it again"));
  }
  while (true) {
    absl::StatusOr<bool> read = ReadLine();
    if (!read.ok()) return read.status();
    if (!*read) return absl::OkStatus();
    if (!line_.empty() || too_long_) {
      return absl::DataLossError(absl::StrCat(
          path_, ":", line_number_, ": the file goes on after its end in line ", end_line));
    }
  }
}

absl::StatusOr<bool> CsvFile::ReadLine() {
  line_.clear();
  too_long_ = false;
  bool any = false;
  while (true) {
    if (position_ == buffer_.size()) {
      if (absl::Status status = Fill(); !status.ok()) return status;
      if (end_) break;
    }
    any = true;
    const size_t stop = buffer_.find('\n', position_);
    const size_t end = std::min(stop, buffer_.size());
    const size_t room = kMaxLineBytes - line_.size();
    too_long_ = too_long_ || end - position_ > room;
    line_.append(buffer_, position_, std::min(end - position_, room));
    position_ = std::min(end + 1, buffer_.size());
    if (stop != std::string::npos) break;
  }
  if (!any) return false;
  ++line_number_;
  if (!line_.empty() && line_.back() == '\r') line_.pop_back();
  return true;
}

absl::Status CsvFile::Fill() {
  buffer_.resize(kBufferBytes);
  position_ = 0;
  const int count = gzread(file_.get(), buffer_.data(), kBufferBytes);
  buffer_.resize(std::max(count, 0));
  if (count > 0) return absl::OkStatus();
  end_ = true;
  // A gzip file that was cut short ends like any other, except for this code.
  int code = Z_OK;
  const char* message = gzerror(file_.get(), &code);
  if (code == Z_OK || code == Z_STREAM_END) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat(path_, ": cannot be read after line ", line_number_, ": ",
                                          code == Z_ERRNO ? std::strerror(errno) : message));
}

double CsvFile::fraction_read() const {
  if (size_ <= 0) return 0;
  return std::clamp(static_cast<double>(gzoffset(file_.get())) / size_, 0.0, 1.0);
}

}  // namespace energysites
