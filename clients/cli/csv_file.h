// Reads a CSV file row by row, plain or gzip, in memory that does not grow with the file.
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
  // A file with a column of downloads is one, and ends with a line that says how many rows it has.
  enum Kind { kOfAll, kOfOthers, kOfDownloads };

  absl::string_view name;
  bool required = true;  // where the file is of this kind
  Kind kind = kOfAll;
  // A part of a value is no value, as of a boolean or a timestamp.
  bool refuses_part = false;
};

struct CsvRow {
  int64_t line = 0;                 // in the file; the header is line 1
  std::vector<std::string> fields;  // in the order of the columns given to Open
  absl::Status status;              // not OK: the line is no row, and `fields` is empty
};

// Not thread-safe. Takes CRLF for LF, skips a byte order mark and lines that are empty or hold only
// commas. Empty fields after the last column are ignored: a spreadsheet pads lines with commas. A
// last line `# end N rows` is no row.
class CsvFile {
 public:
  // Opens `path` and checks its header: every required column is there, none is unknown or
  // repeated, in any order. An optional column that is missing reads as empty.
  static absl::StatusOr<std::unique_ptr<CsvFile>> Open(std::string path,
                                                       const std::vector<CsvColumn>& columns);

  // The next row, good or not; nothing at the end. An error means that the file cannot be read
  // on (a broken gzip stream, a failing disk), that it is not UTF-8, or that it is a download that
  // was cut off.
  absl::StatusOr<std::optional<CsvRow>> Next();

  const std::string& path() const { return file_->path(); }
  bool is_regular() const { return file_->is_regular(); }
  double fraction_read() const { return file_->fraction_read(); }

  // After the last row: a warning if its line has no line end and a cut in its last field would not
  // be seen; else empty.
  const std::string& warning() const { return warning_; }

 private:
  explicit CsvFile(std::unique_ptr<InputFile> file) : file_(std::move(file)) {}
  absl::Status ReadHeader(const std::vector<CsvColumn>& columns);
  // Reads the next line into `line_`; false at the end. `too_long_` tells of a line whose tail
  // was dropped. INVALID_ARGUMENT for a line that is not UTF-8.
  absl::StatusOr<bool> ReadLine();
  absl::Status CheckEncoding() const;
  // At the line that ends a download, or after the last line if there is none.
  absl::Status CheckEnd(std::optional<int64_t> rows_said);

  std::unique_ptr<InputFile> file_;
  std::string buffer_;
  size_t position_ = 0;  // in buffer_
  std::string line_;
  bool too_long_ = false;
  bool has_line_end_ = false;
  std::string warning_;
  int64_t line_number_ = 0;
  int64_t rows_ = 0;
  bool must_end_ = false;
  bool last_refuses_part_ = false;           // of the last column in the file
  size_t width_ = 0;                         // fields a row has in the file
  std::vector<std::optional<size_t>> from_;  // by column: its place in the file
};

}  // namespace energysites
