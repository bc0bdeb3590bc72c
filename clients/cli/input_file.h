// Reads a plain or gzip file and detects truncation and trailing data.
#pragma once

#include <zlib.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace energysites {

// A file that begins with the gzip magic number consists of one or more gzip members; their
// contents are concatenated. As in gzip(1), only zero bytes may follow the last member. Not
// thread-safe.
class InputFile {
 public:
  // Returns NOT_FOUND if `path` cannot be opened.
  static absl::StatusOr<std::unique_ptr<InputFile>> Open(std::string path);
  ~InputFile();
  InputFile(const InputFile&) = delete;
  InputFile& operator=(const InputFile&) = delete;

  // Reads at most `size` bytes of the content into `data` and returns their number; 0 at the end.
  // Returns DATA_LOSS, with the offset in the file, for a read error, a damaged or truncated
  // member, and bytes that are not part of a member.
  absl::StatusOr<size_t> Read(char* data, size_t size);

  const std::string& path() const { return path_; }
  // Whether the file is a regular file, which can be opened again.
  bool is_regular() const { return is_regular_; }
  // The fraction of the file that has been read, 0 to 1; 0 if its size is unknown (a pipe).
  double fraction_read() const;

 private:
  InputFile(std::string path, int file) : path_(std::move(path)), file_(file) {}
  absl::StatusOr<size_t> ReadMembers(char* data, size_t size);
  // Starts the next member; returns false if there is none.
  absl::StatusOr<bool> BeginMember();
  // Reads until at least `min_bytes` bytes are buffered, or to the end of the file.
  absl::Status Fill(size_t min_bytes);
  absl::string_view ahead() const { return absl::string_view(buffer_).substr(position_); }
  // The offset in the file of the first byte of `ahead`.
  int64_t offset() const { return bytes_read_ - static_cast<int64_t>(ahead().size()); }

  const std::string path_;
  const int file_;
  bool is_regular_ = false;
  double size_ = 0;
  std::string buffer_;
  size_t position_ = 0;     // in buffer_
  int64_t bytes_read_ = 0;  // of the file, into buffer_
  bool started_ = false;
  bool is_gzip_ = false;
  bool in_member_ = false;
  int64_t member_offset_ = 0;
  z_stream zlib_ = {};
};

}  // namespace energysites
