#include "services/memory_guard.h"

#include <arpa/inet.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace energysites {
namespace {

// A client that sent less is left alone: it is 800 calls that were taken back, of 4 KiB each.
constexpr int64_t kLeastUnansweredBytes = 16 << 10;

struct Connection {
  int descriptor = 0;
  uint64_t number = 0;  // Never given twice, as descriptors are.
  int64_t unanswered_bytes = 0;
  std::string client;
};

template <class T>
bool GetOption(int descriptor, int level, int name, T* value) {
  socklen_t size = sizeof(T);
  return getsockopt(descriptor, level, name, value, &size) == 0 && size == sizeof(T);
}

// Of an IPv4 or IPv6 address; 0 of any other.
int PortOf(const sockaddr_storage& address) {
  if (address.ss_family == AF_INET) {
    return ntohs(reinterpret_cast<const sockaddr_in&>(address).sin_port);
  }
  if (address.ss_family == AF_INET6) {
    return ntohs(reinterpret_cast<const sockaddr_in6&>(address).sin6_port);
  }
  return 0;
}

std::string TextOf(const sockaddr_storage& address) {
  char host[INET6_ADDRSTRLEN] = {};
  const void* bytes = &reinterpret_cast<const sockaddr_in6&>(address).sin6_addr;
  if (address.ss_family == AF_INET) {
    bytes = &reinterpret_cast<const sockaddr_in&>(address).sin_addr;
  }
  inet_ntop(address.ss_family, bytes, host, sizeof(host));
  return absl::StrCat(host, " port ", PortOf(address));
}

// Whether `descriptor` is a client's connection to `port`; fills in the rest.
bool Describe(int descriptor, int port, Connection* connection) {
  sockaddr_storage here = {}, client = {};
  socklen_t here_size = sizeof(here), client_size = sizeof(client);
  tcp_info info = {};
  socklen_t info_size = sizeof(info);
  // A listening socket has no peer.
  if (getsockname(descriptor, reinterpret_cast<sockaddr*>(&here), &here_size) != 0 ||
      PortOf(here) != port ||
      getpeername(descriptor, reinterpret_cast<sockaddr*>(&client), &client_size) != 0 ||
      !GetOption(descriptor, SOL_SOCKET, SO_COOKIE, &connection->number) ||
      getsockopt(descriptor, IPPROTO_TCP, TCP_INFO, &info, &info_size) != 0) {
    return false;
  }
  connection->descriptor = descriptor;
  connection->unanswered_bytes =
      static_cast<int64_t>(info.tcpi_bytes_received) - static_cast<int64_t>(info.tcpi_bytes_acked);
  connection->client = TextOf(client);
  return true;
}

std::vector<Connection> ConnectionsTo(int port) {
  std::vector<Connection> connections;
  std::error_code error;
  for (std::filesystem::directory_iterator file("/proc/self/fd", error), end; file != end;
       file.increment(error)) {
    int descriptor = 0;
    Connection connection;
    if (absl::SimpleAtoi(file->path().filename().string(), &descriptor) &&
        Describe(descriptor, port, &connection)) {
      connections.push_back(std::move(connection));
    }
  }
  return connections;
}

// Resets it. Unlike shutdown(), this throws away what has arrived and was not read yet. gRPC may
// close the descriptor meanwhile and the system give it to another socket, so that one of our own
// is looked at first.
bool Cut(const Connection& connection) {
  const int own = dup(connection.descriptor);
  if (own < 0) return false;
  uint64_t number = 0;
  sockaddr nowhere = {};
  nowhere.sa_family = AF_UNSPEC;
  const bool cut = GetOption(own, SOL_SOCKET, SO_COOKIE, &number) && number == connection.number &&
                   connect(own, &nowhere, sizeof(nowhere)) == 0;
  close(own);
  return cut;
}

}  // namespace

size_t ResidentBytes() {
  static const auto page_bytes = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  size_t all_pages = 0, resident_pages = 0;
  std::ifstream("/proc/self/statm") >> all_pages >> resident_pages;
  return resident_pages * page_bytes;
}

MemoryGuard::MemoryGuard(int port, size_t most_bytes,
                         std::function<void(const std::string&, int64_t)> on_cut,
                         prometheus::Registry& registry)
    : port_(port),
      most_bytes_(most_bytes),
      on_cut_(std::move(on_cut)),
      cut_(prometheus::BuildCounter()
               .Name("energy_sites_connections_cut_total")
               .Help("Connections that were cut because what their clients sent filled the memory.")
               .Register(registry)
               .Add({})),
      thread_([this] { Watch(); }) {}

MemoryGuard::~MemoryGuard() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stopping_ = true;
  }
  stop_.notify_all();
  thread_.join();
}

void MemoryGuard::Watch() {
  // Headers without end, the fastest way, take some 20 MiB in the longer one.
  constexpr std::chrono::milliseconds kPause(20), kPauseNearLimit(2);
  constexpr std::chrono::seconds kLooksBack(10);
  size_t before = 0;
  auto remembered = std::chrono::steady_clock::time_point();
  std::unique_lock<std::mutex> lock(mutex_);
  while (!stopping_) {
    const size_t resident = ResidentBytes();
    if (resident > most_bytes_ && resident > before) CutSenders();
    before = resident;
    const auto now = std::chrono::steady_clock::now();
    if (now - remembered >= kLooksBack) {
      Remember();
      remembered = now;
    }
    const bool near_limit = resident > most_bytes_ / 4 * 3;
    stop_.wait_for(lock, near_limit ? kPauseNearLimit : kPause, [this] { return stopping_; });
  }
}

void MemoryGuard::CutSenders() {
  std::vector<Connection> connections = ConnectionsTo(port_);
  int64_t most = kLeastUnansweredBytes;
  for (Connection& connection : connections) {
    const auto earlier = remembered_.find(connection.number);
    if (earlier != remembered_.end()) connection.unanswered_bytes -= earlier->second;
    most = std::max(most, connection.unanswered_bytes);
  }
  // All that are alike at once: there is no time to take them one by one.
  for (const Connection& connection : connections) {
    if (connection.unanswered_bytes < std::max(most / 2, kLeastUnansweredBytes)) continue;
    if (!Cut(connection)) continue;
    cut_.Increment();
    on_cut_(connection.client, connection.unanswered_bytes);
  }
}

void MemoryGuard::Remember() {
  remembered_.clear();
  for (const Connection& connection : ConnectionsTo(port_)) {
    remembered_[connection.number] = connection.unanswered_bytes;
  }
}

}  // namespace energysites
