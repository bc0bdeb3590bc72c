// The file that `export` writes: the whole of it, or the old one as it was.
#pragma once

#include <memory>
#include <ostream>
#include <streambuf>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace energysites {

// Writes a temporary file in the folder of its target and renames it at the end. A target that is
// a symbolic link stays one; the file that it points to is replaced. The new file keeps mode, owner
// and group of the old one, as far as this process may set them. What is not a regular file (a
// device, a pipe) and what is named by a descriptor (/dev/stdout) is written directly.
//
// SIGINT, SIGTERM and SIGHUP remove the temporary file before they end the process; so at most one
// object at a time. Not thread-safe.
class OutputFile {
 public:
  // Leaves the target as it is. UNAVAILABLE if it could not be written or replaced.
  static absl::StatusOr<std::unique_ptr<OutputFile>> Open(const std::string& path);
  // Removes the temporary file, if it is still there.
  ~OutputFile();
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  // No longer good() once the file cannot be written.
  std::ostream& stream() { return stream_; }

  // Why the stream is not good; OK if it is.
  absl::Status status() const;

  // Writes all of the stream to the disk and puts the file in place of the old one. After an error
  // the old file is as it was, unless the error says otherwise.
  absl::Status Commit();

 private:
  // Buffers and writes to a descriptor.
  class Buffer : public std::streambuf {
   public:
    explicit Buffer(int file);
    ~Buffer() override;
    int file() const { return file_; }
    int error() const { return error_; }  // errno of the first failed write; 0 for none

   protected:
    int_type overflow(int_type c) override;
    int sync() override;

   private:
    const int file_;
    int error_ = 0;
    std::string bytes_;
  };

  OutputFile(std::string path, int file, std::string target, std::string temporary);

  const std::string path_;       // as given
  const std::string target_;     // without symbolic links
  const std::string temporary_;  // empty where the target is written directly
  Buffer buffer_;
  std::ostream stream_;
  bool renamed_ = false;
};

}  // namespace energysites
