// Reads a CSV file row by row, plain or gzip, in memory that does not grow with the file.
#pragma once

#include <zlib.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace energysites {

struct CsvColumn {
  // A file with a column of downloads is one, and ends with a line that says how many rows it has.
  enum Kind { kOfAll, kOfOthers, kOfDownloads };

  absl::string_view name;
  bool required = true;  // where the file is of this kind
  Kind kind = kOfAll;
};

struct CsvRow {
  int64_t line = 0;                 // in the file; the header is line 1
  std::vector<std::string> fields;  // in the order of the columns given to Open
  absl::Status status;              // not OK: the line is no row, and `fields` is empty
};

// Not thread-safe. Takes CRLF for LF, skips a byte order mark and blank lines. A last line
// `# end N rows` is no row.
class CsvFile {
 public:
  // Opens `path` and checks its header: every required column is there, none is unknown or
  // repeated, in any order. An optional column that is missing reads as empty.
  static absl::StatusOr<std::unique_ptr<CsvFile>> Open(std::string path,
                                                       const std::vector<CsvColumn>& columns);

  // The next row, good or not; nothing at the end. An error means that the file cannot be read
  // on (a broken gzip stream, a failing disk), or that it is a download that was cut off.
  absl::StatusOr<std::optional<CsvRow>> Next();

  const std::string& path() const { return path_; }

  // Whether it is a download and could be opened a second time.
  bool is_download_on_disk() const { return must_end_ && is_regular_; }

  // How much of the file has been read, 0 to 1; 0 where its size is not known (a pipe).
  double fraction_read() const;

 private:
  struct Closer {
    void operator()(gzFile file) const { gzclose(file); }
  };

  explicit CsvFile(std::string path) : path_(std::move(path)) {}
  absl::Status ReadHeader(const std::vector<CsvColumn>& columns);
  // Reads the next line into `line_`; false at the end. `too_long_` tells of a line whose tail
  // was dropped.
  absl::StatusOr<bool> ReadLine();
  absl::Status Fill();
  // At the line that ends a download, or after the last line if there is none.
  absl::Status CheckEnd(std::optional<int64_t> rows_said);

  std::string path_;
  std::unique_ptr<gzFile_s, Closer> file_;
  bool is_regular_ = false;
  double size_ = 0;
  std::string buffer_;
  size_t position_ = 0;  // in buffer_
  bool end_ = false;
  std::string line_;
  bool too_long_ = false;
  int64_t line_number_ = 0;
  int64_t rows_ = 0;
  bool must_end_ = false;
  size_t width_ = 0;                         // fields a row has in the file
  std::vector<std::optional<size_t>> from_;  // by column: its place in the file
};

}  // namespace energysites
