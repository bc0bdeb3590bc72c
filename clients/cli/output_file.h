// The output file of `export`, which is replaced atomically.
#pragma once

#include <memory>
#include <ostream>
#include <streambuf>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace energysites {

// Writes a temporary file in the folder of the target and renames it at the end. If the target is a
// symbolic link, the link stays and the file that it points to is replaced. The new file gets the
// mode, owner and group of the old one, as far as this process may set them. A target that is not a
// regular file (a device, a pipe) or that is the name of a descriptor (/dev/stdout) is written
// directly.
//
// On SIGINT, SIGTERM and SIGHUP the temporary file is removed before the process ends. There may
// therefore be at most one object at a time. Not thread-safe.
class OutputFile {
 public:
  // Does not change the target. Returns UNAVAILABLE if it cannot be written or replaced.
  static absl::StatusOr<std::unique_ptr<OutputFile>> Open(const std::string& path);
  // Removes the temporary file unless it was committed.
  ~OutputFile();
  OutputFile(const OutputFile&) = delete;
  OutputFile& operator=(const OutputFile&) = delete;

  // Not good() after a failed write.
  std::ostream& stream() { return stream_; }

  // OK if the stream is good, otherwise the error of the failed write.
  absl::Status status() const;

  // Syncs the file to disk and renames it to the target. After an error the target is unchanged,
  // unless the error says otherwise.
  absl::Status Commit();

 private:
  // A buffer that writes to a descriptor.
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

  const std::string path_;       // as specified
  const std::string target_;     // without symbolic links
  const std::string temporary_;  // empty if the target is written directly
  Buffer buffer_;
  std::ostream stream_;
  bool renamed_ = false;
};

}  // namespace energysites
