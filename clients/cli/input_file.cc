#include "clients/cli/input_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace energysites {
namespace {

constexpr size_t kBufferBytes = 256 << 10;
constexpr absl::string_view kGzipMagic = "\x1F\x8B";
// The largest window, and a gzip header and trailer.
constexpr int kGzipWindowBits = 15 + 16;

}  // namespace

absl::StatusOr<std::unique_ptr<InputFile>> InputFile::Open(std::string path) {
  const int descriptor = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) return absl::NotFoundError(absl::StrCat(path, ": ", std::strerror(errno)));
  std::unique_ptr<InputFile> file(new InputFile(std::move(path), descriptor));
  struct stat status = {};
  if (fstat(descriptor, &status) == 0 && S_ISREG(status.st_mode)) {
    file->is_regular_ = true;
    file->size_ = static_cast<double>(status.st_size);
  }
  if (inflateInit2(&file->zlib_, kGzipWindowBits) != Z_OK) {
    return absl::ResourceExhaustedError("no memory for zlib");
  }
  return file;
}

InputFile::~InputFile() {
  inflateEnd(&zlib_);
  close(file_);
}

absl::StatusOr<size_t> InputFile::Read(char* data, size_t size) {
  if (!started_) {
    if (absl::Status status = Fill(kGzipMagic.size()); !status.ok()) return status;
    is_gzip_ = absl::StartsWith(ahead(), kGzipMagic);
    started_ = true;
  }
  if (is_gzip_) return ReadMembers(data, size);
  if (absl::Status status = Fill(1); !status.ok()) return status;
  const size_t count = ahead().copy(data, size);
  position_ += count;
  return count;
}

absl::StatusOr<size_t> InputFile::ReadMembers(char* data, size_t size) {
  while (true) {
    if (!in_member_) {
      const absl::StatusOr<bool> begun = BeginMember();
      if (!begun.ok()) return begun.status();
      if (!*begun) return 0;
    }
    if (absl::Status status = Fill(1); !status.ok()) return status;
    if (ahead().empty()) {
      return absl::DataLossError(absl::StrCat(
          path_, ": byte ", offset(), ": the file ends inside the gzip member that begins at byte ",
          member_offset_, "; it is truncated: copy or download it again"));
    }
    zlib_.next_in = reinterpret_cast<Bytef*>(&buffer_[position_]);
    zlib_.avail_in = static_cast<uInt>(ahead().size());
    zlib_.next_out = reinterpret_cast<Bytef*>(data);
    zlib_.avail_out = static_cast<uInt>(size);
    const int code = inflate(&zlib_, Z_NO_FLUSH);
    position_ = buffer_.size() - zlib_.avail_in;
    if (code == Z_STREAM_END) {
      in_member_ = false;
    } else if (code != Z_OK) {
      return absl::DataLossError(absl::StrCat(
          path_, ": byte ", offset(), ": the gzip member that begins at byte ", member_offset_,
          " is damaged (", zlib_.msg == nullptr ? "no reason given" : zlib_.msg,
          "): copy or download the file again"));
    }
    if (const size_t count = size - zlib_.avail_out; count > 0) return count;
  }
}

absl::StatusOr<bool> InputFile::BeginMember() {
  if (absl::Status status = Fill(kGzipMagic.size()); !status.ok()) return status;
  if (absl::StartsWith(ahead(), kGzipMagic)) {
    inflateReset(&zlib_);
    member_offset_ = offset();
    in_member_ = true;
    return true;
  }
  while (!ahead().empty()) {
    if (absl::StartsWith(ahead(), kGzipMagic)) {
      return absl::DataLossError(absl::StrCat(
          path_, ": byte ", offset(),
          ": zero bytes before the gzip member that begins here; "
          "copy or download the file again, or remove the zero bytes if no data is missing"));
    }
    if (ahead().front() != '\0') {
      return absl::DataLossError(absl::StrCat(
          path_, ": byte ", offset(),
          " is not part of a gzip member, but the file begins with one; compress the whole file, "
          "or remove the bytes after the last member"));
    }
    position_ += std::min(ahead().find_first_not_of('\0'), ahead().size());
    if (absl::Status status = Fill(kGzipMagic.size()); !status.ok()) return status;
  }
  return false;
}

absl::Status InputFile::Fill(size_t min_bytes) {
  while (ahead().size() < min_bytes) {
    buffer_.erase(0, position_);
    position_ = 0;
    const size_t kept = buffer_.size();
    buffer_.resize(kept + kBufferBytes);
    ssize_t count;
    do {
      count = read(file_, &buffer_[kept], kBufferBytes);
    } while (count < 0 && errno == EINTR);
    const int error = errno;
    buffer_.resize(kept + std::max<ssize_t>(count, 0));
    if (count < 0) {
      return absl::DataLossError(absl::StrCat(path_, ": cannot be read from byte ", bytes_read_,
                                              " on: ", std::strerror(error)));
    }
    if (count == 0) break;
    bytes_read_ += count;
  }
  return absl::OkStatus();
}

double InputFile::fraction_read() const {
  if (size_ <= 0) return 0;
  return std::clamp(static_cast<double>(offset()) / size_, 0.0, 1.0);
}

}  // namespace energysites
