// Takes the place of libc's accept4 for the whole program, gRPC's listener included.
//
// gRPC 1.51 gives a listening socket up for good when accept4 fails for want of a descriptor: the
// server lives on, and no client ever reaches it again. So connections never get the last
// descriptors: those beyond are closed at once, and what the program has open can go on.
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

namespace {

// For the database, the admin port and files.
constexpr rlim_t kReservedDescriptors = 64;

// The system gives out the lowest free number, so a high one says how many are in use.
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
