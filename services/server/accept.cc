// Replaces accept4 of libc in the whole program, including the listener of gRPC.
//
// When accept4 fails because no descriptor is free, gRPC 1.51 stops accepting connections until the
// process restarts. This function therefore reserves the last descriptors: further connections are
// closed immediately, and the rest of the program can still open files.
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

namespace {

// For the database, the admin port and files.
constexpr rlim_t kReservedDescriptors = 64;

// The system assigns the lowest free number, so a high number means that many are in use.
bool IsReserved(int descriptor) {
  rlimit limit = {};
  return getrlimit(RLIMIT_NOFILE, &limit) == 0 &&
         static_cast<rlim_t>(descriptor) + kReservedDescriptors >= limit.rlim_cur;
}

}  // namespace

extern "C" int accept4(int socket, sockaddr* address, socklen_t* length, int flags) {
  while (true) {
    const auto connection = static_cast<int>(syscall(SYS_accept4, socket, address, length, flags));
    if (connection < 0) {
      if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
        errno = EAGAIN;
      }
      return -1;
    }
    if (!IsReserved(connection)) return connection;
    close(connection);
  }
}
