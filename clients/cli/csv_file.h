// Reads a CSV file, plain or gzip, row by row in constant memory.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "clients/cli/input_file.h"

namespace energysites {

struct CsvColumn {
  // Which files have the column. A file with a kDownload column is a download and must end with an
  // EndLine.
  enum Kind { kAny, kNotDownload, kDownload };

  absl::string_view name;
  bool required = true;  // in files of this kind
  Kind kind = kAny;
  // Whether a truncated value is always invalid, as for a boolean or a timestamp.
  bool detects_truncation = false;
};

struct CsvRow {
  int64_t line = 0;                 // in the file; the header is line 1
  std::vector<std::string> fields;  // in the order of the columns given to Open
  absl::Status status;              // not OK if the line is invalid; `fields` is empty then
};

// Not thread-safe. Accepts LF and CRLF. Skips a byte order mark, and lines that are empty or
// contain only commas. Ignores empty fields after the last column, because spreadsheets pad lines
// with commas. An EndLine is not a row.
class CsvFile {
 public:
  // Opens `path` and checks its header: every required column is present and none is unknown or
  // repeated. The columns may be in any order. A missing optional column is read as empty.
  static absl::StatusOr<std::unique_ptr<CsvFile>> Open(std::string path,
                                                       const std::vector<CsvColumn>& columns);

  // Returns the next row, valid or not; nothing at the end. An error means that the rest of the
  // file cannot be read (invalid gzip data, a read error), that it is not UTF-8, or that it is an
  // incomplete download.
  absl::StatusOr<std::optional<CsvRow>> Next();

  const std::string& path() const { return file_->path(); }
  bool is_regular() const { return file_->is_regular(); }
  double fraction_read() const { return file_->fraction_read(); }

  // After the last row: a warning if its line has no line end and its last field may be truncated;
  // empty otherwise.
  const std::string& warning() const { return warning_; }

 private:
  explicit CsvFile(std::unique_ptr<InputFile> file) : file_(std::move(file)) {}
  absl::Status ReadHeader(const std::vector<CsvColumn>& columns);
  // Reads the next line into `line_`; returns false at the end. Sets `too_long_` if the line was
  // truncated. Returns INVALID_ARGUMENT if the line is not UTF-8.
  absl::StatusOr<bool> ReadLine();
  absl::Status CheckEncoding() const;
  // Called at the EndLine, or with nothing after the last line if there is no EndLine.
  absl::Status CheckEnd(std::optional<int64_t> stated_rows);

  std::unique_ptr<InputFile> file_;
  std::string buffer_;
  size_t position_ = 0;  // in buffer_
  std::string line_;
  bool too_long_ = false;
  bool has_line_end_ = false;
  std::string warning_;
  int64_t line_number_ = 0;
  int64_t rows_ = 0;
  bool needs_end_line_ = false;
  bool last_detects_truncation_ = false;     // of the last column in the file
  size_t width_ = 0;                         // fields of a row in the file
  std::vector<std::optional<size_t>> from_;  // by column: its index in the file
};

}  // namespace energysites
