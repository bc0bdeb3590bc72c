#include "services/admission/connection_guard.h"

#include <arpa/inet.h>
#include <grpc/grpc.h>
#include <grpc/support/alloc.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "google/protobuf/struct.pb.h"
#include "google/protobuf/util/json_util.h"
#include "services/operations/process_metrics.h"

namespace energysites {
namespace {

using Socket = ConnectionGuard::Socket;
using google::protobuf::Struct;
using google::protobuf::Value;
using std::chrono::steady_clock;

template <class T>
bool GetOption(int descriptor, int level, int name, T* value) {
  socklen_t size = sizeof(T);
  return getsockopt(descriptor, level, name, value, &size) == 0 && size == sizeof(T);
}

// An address and port. channelz writes IPv4 addresses within IPv6 as IPv4.
std::string EndpointOf(absl::string_view address_bytes, int port) {
  constexpr absl::string_view kMapped("\0\0\0\0\0\0\0\0\0\0\xff\xff", 12);
  if (address_bytes.size() == 16 && address_bytes.substr(0, 12) == kMapped) {
    address_bytes.remove_prefix(12);
  }
  char host[INET6_ADDRSTRLEN] = {};
  const int family = address_bytes.size() == 4 ? AF_INET : AF_INET6;
  if (address_bytes.size() != 4 && address_bytes.size() != 16) return "";
  inet_ntop(family, address_bytes.data(), host, sizeof(host));
  return absl::StrCat(host, " port ", port);
}

std::string EndpointOf(const sockaddr_storage& address) {
  if (address.ss_family == AF_INET) {
    const auto& ipv4 = reinterpret_cast<const sockaddr_in&>(address);
    return EndpointOf({reinterpret_cast<const char*>(&ipv4.sin_addr), sizeof(ipv4.sin_addr)},
                      ntohs(ipv4.sin_port));
  }
  if (address.ss_family == AF_INET6) {
    const auto& ipv6 = reinterpret_cast<const sockaddr_in6&>(address);
    return EndpointOf({reinterpret_cast<const char*>(&ipv6.sin6_addr), sizeof(ipv6.sin6_addr)},
                      ntohs(ipv6.sin6_port));
  }
  return "";
}

// The two ends of a connection, which no two have alike.
struct Ends {
  std::string here;
  std::string client;

  bool operator<(const Ends& other) const {
    return std::tie(client, here) < std::tie(other.client, other.here);
  }
};

// Those of the process that are connected.
std::map<Ends, Socket> Sockets() {
  std::map<Ends, Socket> sockets;
  std::error_code error;
  for (std::filesystem::directory_iterator file("/proc/self/fd", error), end; file != end;
       file.increment(error)) {
    Socket socket;
    sockaddr_storage here = {}, client = {};
    socklen_t here_size = sizeof(here), client_size = sizeof(client);
    // A listening socket has no peer.
    if (absl::SimpleAtoi(file->path().filename().string(), &socket.descriptor) &&
        getpeername(socket.descriptor, reinterpret_cast<sockaddr*>(&client), &client_size) == 0 &&
        getsockname(socket.descriptor, reinterpret_cast<sockaddr*>(&here), &here_size) == 0 &&
        GetOption(socket.descriptor, SOL_SOCKET, SO_COOKIE, &socket.number)) {
      sockets.emplace(Ends{EndpointOf(here), EndpointOf(client)}, socket);
    }
  }
  return sockets;
}

int64_t ReceivedBytes(const Socket& socket) {
  tcp_info info = {};
  socklen_t size = sizeof(info);
  if (getsockopt(socket.descriptor, IPPROTO_TCP, TCP_INFO, &info, &size) != 0) return 0;
  return static_cast<int64_t>(info.tcpi_bytes_received);
}

// Resets it. Unlike shutdown(), this throws away what has arrived and was not read yet. gRPC may
// close the descriptor meanwhile and the system give it to another socket, so that one of our own
// is looked at first.
bool Reset(const Socket& socket) {
  const int own = dup(socket.descriptor);
  if (own < 0) return false;
  uint64_t number = 0;
  sockaddr nowhere = {};
  nowhere.sa_family = AF_UNSPEC;
  const bool reset = GetOption(own, SOL_SOCKET, SO_COOKIE, &number) && number == socket.number &&
                     connect(own, &nowhere, sizeof(nowhere)) == 0;
  close(own);
  return reset;
}

// What channelz says, which writes JSON that it owns no more.
Struct Parsed(char* json) {
  Struct parsed;
  if (json == nullptr) return parsed;
  const bool ok = google::protobuf::util::JsonStringToMessage(json, &parsed).ok();
  gpr_free(json);
  return ok ? parsed : Struct();
}

// Empty where there is none.
const Value& Field(const Struct& from, const char* name) {
  const auto found = from.fields().find(name);
  return found == from.fields().end() ? Value::default_instance() : found->second;
}

// channelz writes 64-bit numbers as strings, and none for 0.
int64_t Number(const Struct& from, const char* name) {
  int64_t number = 0;
  return absl::SimpleAtoi(Field(from, name).string_value(), &number) ? number : 0;
}

// A connection as gRPC sees it. Counts are since its beginning.
struct Connection {
  Ends ends;
  int64_t calls = 0;     // Under way.
  int64_t finished = 0;  // Calls that both sides ended.
  int64_t taken_back = 0;
  int64_t messages = 0;  // Whole ones, of both sides.
};

std::string EndpointOf(const Value& address) {
  const Struct& tcp = Field(address.struct_value(), "tcpip_address").struct_value();
  std::string bytes;
  absl::Base64Unescape(Field(tcp, "ip_address").string_value(), &bytes);
  return EndpointOf(bytes, static_cast<int>(Field(tcp, "port").number_value()));
}

Connection ConnectionOf(const Struct& socket) {
  const Struct& data = Field(socket, "data").struct_value();
  Connection connection;
  connection.finished = Number(data, "streamsSucceeded");
  connection.taken_back = Number(data, "streamsFailed");
  // Some that are taken back are counted twice.
  connection.calls = std::max<int64_t>(
      Number(data, "streamsStarted") - connection.finished - connection.taken_back, 0);
  connection.messages = Number(data, "messagesSent") + Number(data, "messagesReceived");
  connection.ends = {EndpointOf(Field(socket, "local")), EndpointOf(Field(socket, "remote"))};
  return connection;
}

std::vector<Connection> Connections() {
  constexpr int kPage = 1000;
  std::vector<Connection> connections;
  const Struct servers = Parsed(grpc_channelz_get_servers(0));
  for (const Value& server : Field(servers, "server").list_value().values()) {
    const int64_t id = Number(Field(server.struct_value(), "ref").struct_value(), "serverId");
    int64_t next = 0;
    bool end = false;
    while (!end) {
      const Struct page = Parsed(grpc_channelz_get_server_sockets(id, next, kPage));
      const auto& sockets = Field(page, "socketRef").list_value().values();
      for (const Value& socket : sockets) {
        const int64_t socket_id = Number(socket.struct_value(), "socketId");
        next = socket_id + 1;
        const Struct described = Parsed(grpc_channelz_get_socket(socket_id));
        connections.push_back(ConnectionOf(Field(described, "socket").struct_value()));
      }
      end = sockets.empty() || Field(page, "end").bool_value();
    }
  }
  return connections;
}

}  // namespace

ConnectionGuard::ConnectionGuard(const Limits& limits, OnCut on_cut, prometheus::Registry& registry)
    : limits_(limits),
      on_cut_(std::move(on_cut)),
      cut_(prometheus::BuildCounter()
               .Name("energy_sites_connections_cut_total")
               .Help("Connections that were cut because their clients flooded a server short of "
                     "memory.")
               .Register(registry)
               .Add({})),
      thread_([this] { Watch(); }) {}

ConnectionGuard::~ConnectionGuard() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stopping_ = true;
  }
  stop_.notify_all();
  thread_.join();
}

void ConnectionGuard::Watch() {
  constexpr steady_clock::duration kPause = std::chrono::milliseconds(5);
  constexpr steady_clock::duration kPeriod = std::chrono::seconds(1);
  steady_clock::time_point period_start;
  steady_clock::duration pause = kPause;
  std::unique_lock<std::mutex> lock(mutex_);
  while (!stop_.wait_for(lock, pause, [this] { return stopping_; })) {
    const steady_clock::time_point now = steady_clock::now();
    const bool may_cut = ResidentBytes() > limits_.memory_bytes;
    const bool period_ends = now - period_start >= kPeriod;
    const bool hurry = (may_cut || period_ends) && Look(may_cut, period_ends);
    if (period_ends) period_start = now;
    // A look at many connections takes its time.
    pause = std::max(kPause, (steady_clock::now() - now) * (hurry ? 1 : 20));
  }
}

bool ConnectionGuard::Look(bool may_cut, bool period_ends) {
  // Of all connections together, in a period. What the server handles in a fraction of it.
  constexpr int64_t kMostTakenBack = 1000;
  // A client that took fewer back is not one of those who flood.
  constexpr int64_t kFewTakenBack = 100;

  const std::map<Ends, Socket> sockets = Sockets();
  const std::map<uint64_t, Seen> before = std::exchange(seen_, {});
  std::vector<Suspect> flooding, endless;
  int64_t taken_back_by_all = 0, unfinished_bytes_of_all = 0, most_unfinished_bytes = 0;
  Suspect most_unfinished;
  for (const Connection& connection : Connections()) {
    const auto socket = sockets.find(connection.ends);
    if (socket == sockets.end()) continue;
    const auto earlier = before.find(socket->second.number);
    Seen seen = earlier == before.end() ? Seen() : earlier->second;

    const int64_t received = ReceivedBytes(socket->second);
    const int64_t progress = connection.finished + connection.messages;
    if (seen.progress != progress || connection.calls == 0) seen.received_bytes = received;
    seen.progress = progress;
    const int64_t unfinished_bytes = received - seen.received_bytes;

    // Of calls beyond the limit, gRPC has not noticed yet that they were taken back.
    const int64_t all_taken_back =
        connection.taken_back +
        std::max<int64_t>(connection.calls - limits_.calls_of_connection, 0);
    const int64_t taken_back = all_taken_back - seen.taken_back_before;
    const int64_t progress_of_period = progress - seen.progress_before;
    if (period_ends) {
      seen.taken_back_before = all_taken_back;
      seen.progress_before = progress;
    }
    seen_[socket->second.number] = seen;

    const Suspect suspect = {connection.ends.client, socket->second};
    if (taken_back >= kFewTakenBack && taken_back > 10 * progress_of_period) {
      flooding.push_back(suspect);
      taken_back_by_all += taken_back;
    }
    if (unfinished_bytes > connection.calls * 2 * limits_.message_bytes) endless.push_back(suspect);
    // Other clients may have to wait with the rest of a message, where the server does not read on.
    if (connection.messages < connection.calls) {
      unfinished_bytes_of_all += unfinished_bytes;
      if (unfinished_bytes > most_unfinished_bytes) {
        most_unfinished_bytes = unfinished_bytes;
        most_unfinished = suspect;
      }
    }
  }
  const bool suspicious = taken_back_by_all + unfinished_bytes_of_all > 0 || !endless.empty();
  if (!may_cut) return suspicious;
  if (taken_back_by_all > kMostTakenBack) CutOff(flooding, "calls taken back");
  if (endless.empty() && unfinished_bytes_of_all > limits_.unfinished_bytes) {
    endless.push_back(most_unfinished);
  }
  CutOff(endless, "unfinished messages");
  return suspicious;
}

void ConnectionGuard::CutOff(const std::vector<Suspect>& suspects, const char* reason) {
  for (const Suspect& suspect : suspects) {
    if (!Reset(suspect.socket)) continue;
    cut_.Increment();
    on_cut_(suspect.client, reason);
  }
}

}  // namespace energysites
