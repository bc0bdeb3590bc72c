#include "clients/cli/output_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <optional>
#include <random>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace energysites {
namespace {

constexpr size_t kBufferBytes = 64 << 10;
constexpr int kStopSignals[] = {SIGINT, SIGTERM, SIGHUP};

// The path of the temporary file, read by the signal handler.
char temporary_path[4096];

void RemoveTemporaryAndExit(int signal) {
  unlink(temporary_path);
  // Runs the default action, which SA_RESETHAND has restored, when this handler returns.
  raise(signal);
}

void RemoveTemporaryOnSignal(const std::string& temporary) {
  std::snprintf(temporary_path, sizeof(temporary_path), "%s", temporary.c_str());
  for (const int signal : kStopSignals) {
    struct sigaction action = {};
    sigaction(signal, nullptr, &action);
    if (action.sa_handler == SIG_IGN) continue;  // as under nohup
    action.sa_handler = RemoveTemporaryAndExit;
    action.sa_flags = SA_RESETHAND;
    sigaction(signal, &action, nullptr);
  }
}

absl::Status ErrorOf(const std::string& path, const std::string& what, int error) {
  return absl::UnavailableError(absl::StrCat(path, ": ", what, ": ", std::strerror(error)));
}

std::filesystem::path FolderOf(const std::filesystem::path& path) {
  return path.has_parent_path() ? path.parent_path() : ".";
}

// Returns `path` after following symbolic links of its last component, including links to files
// that do not exist yet. Returns nothing for the name of a descriptor, such as /dev/stdout.
absl::StatusOr<std::optional<std::string>> Resolve(const std::string& path) {
  constexpr int kMaxLinks = 40;  // the limit of Linux
  std::filesystem::path target = path;
  for (int links = 0; links <= kMaxLinks; ++links) {
    std::error_code error;
    const std::string folder = std::filesystem::canonical(FolderOf(target), error).string();
    if (error) return ErrorOf(path, "cannot be written", error.value());
    if (absl::StartsWith(folder, "/proc/")) return std::nullopt;
    if (!std::filesystem::is_symlink(std::filesystem::symlink_status(target, error))) {
      return target.string();
    }
    const std::filesystem::path next = std::filesystem::read_symlink(target, error);
    if (error) return ErrorOf(path, "cannot be written", error.value());
    target = FolderOf(target) / next;
  }
  return ErrorOf(path, "cannot be written", ELOOP);
}

}  // namespace

OutputFile::Buffer::Buffer(int file) : file_(file), bytes_(kBufferBytes, '\0') {
  setp(bytes_.data(), bytes_.data() + bytes_.size());
}

OutputFile::Buffer::~Buffer() { close(file_); }

int OutputFile::Buffer::sync() {
  for (const char* at = pbase(); error_ == 0 && at < pptr();) {
    const ssize_t count = write(file_, at, pptr() - at);
    if (count >= 0) {
      at += count;
    } else if (errno != EINTR) {
      error_ = errno;
    }
  }
  setp(bytes_.data(), bytes_.data() + bytes_.size());
  return error_ == 0 ? 0 : -1;
}

OutputFile::Buffer::int_type OutputFile::Buffer::overflow(int_type c) {
  if (sync() != 0) return traits_type::eof();
  if (!traits_type::eq_int_type(c, traits_type::eof())) sputc(traits_type::to_char_type(c));
  return traits_type::not_eof(c);
}

OutputFile::OutputFile(std::string path, int file, std::string target, std::string temporary)
    : path_(std::move(path)),
      target_(std::move(target)),
      temporary_(std::move(temporary)),
      buffer_(file),
      stream_(&buffer_) {}

OutputFile::~OutputFile() {
  if (!temporary_.empty() && !renamed_) unlink(temporary_.c_str());
}

absl::StatusOr<std::unique_ptr<OutputFile>> OutputFile::Open(const std::string& path) {
  // A write beyond the file size limit then fails instead of ending the process.
  signal(SIGXFSZ, SIG_IGN);
  struct stat old = {};
  const bool exists = stat(path.c_str(), &old) == 0;
  std::optional<std::string> target;
  if (!exists || S_ISREG(old.st_mode)) {
    absl::StatusOr<std::optional<std::string>> resolved = Resolve(path);
    if (!resolved.ok()) return resolved.status();
    target = *std::move(resolved);
  }
  if (!target.has_value()) {
    // Appends, so that earlier output of other programs to the same file is kept.
    const int file = open(path.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC);
    if (file < 0) return ErrorOf(path, "cannot be written", errno);
    return std::unique_ptr<OutputFile>(new OutputFile(path, file, path, ""));
  }
  // A rename would also replace a write-protected file.
  if (exists && faccessat(AT_FDCWD, target->c_str(), W_OK, AT_EACCESS) != 0) {
    return ErrorOf(path, "cannot be written", errno);
  }
  const std::string folder = FolderOf(*target).string();
  const std::string temporary =
      absl::StrCat(folder, "/.energy-sites-export-", absl::Hex(std::random_device()()), ".tmp");
  RemoveTemporaryOnSignal(temporary);
  // Not readable by other users until it has the mode of the old file.
  const int file = open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC,
                        exists ? S_IRUSR | S_IWUSR : 0666);
  if (file < 0) {
    return ErrorOf(path, absl::StrCat("cannot create a file in ", folder), errno);
  }
  std::unique_ptr<OutputFile> output(new OutputFile(path, file, *target, temporary));
  if (exists) {
    // Only root may change the owner. Without the old group, the group gets no access.
    if (fchown(file, old.st_uid, old.st_gid) != 0 && fchown(file, -1, old.st_gid) != 0) {
      old.st_mode &= ~static_cast<mode_t>(S_IRWXG);
    }
    if (fchmod(file, old.st_mode & (S_IRWXU | S_IRWXG | S_IRWXO)) != 0) {
      return ErrorOf(path, "the mode of the new file cannot be set", errno);
    }
  }
  return output;
}

absl::Status OutputFile::status() const {
  if (stream_.good()) return absl::OkStatus();
  return ErrorOf(path_, "cannot be written", buffer_.error());
}

absl::Status OutputFile::Commit() {
  stream_.flush();
  if (absl::Status written = status(); !written.ok()) return written;
  if (temporary_.empty()) return absl::OkStatus();
  if (fsync(buffer_.file()) != 0) return ErrorOf(path_, "cannot be written", errno);
  if (rename(temporary_.c_str(), target_.c_str()) != 0) {
    return ErrorOf(path_, "cannot be replaced", errno);
  }
  renamed_ = true;
  // The rename is durable when the folder is synced.
  const int folder = open(FolderOf(target_).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  const bool synced = folder >= 0 && fsync(folder) == 0;
  const int error = errno;
  if (folder >= 0) close(folder);
  if (synced) return absl::OkStatus();
  return ErrorOf(path_, "is written, but its folder cannot be synced", error);
}

}  // namespace energysites
