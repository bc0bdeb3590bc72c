#include "services/admission/connection_guard.h"

#include <arpa/inet.h>
#include <grpcpp/grpcpp.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <future>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "energysites/v1/sites.grpc.pb.h"
#include "gtest/gtest.h"
#include "prometheus/registry.h"

namespace energysites {
namespace {

enum FrameType : char { kHeaders = 1, kSettings = 4, kPing = 6, kContinuation = 9 };

// An HTTP/2 frame without flags.
std::string Frame(FrameType type, char stream, absl::string_view payload) {
  const auto size = static_cast<uint16_t>(payload.size());
  const char header[] = {
      0, static_cast<char>(size >> 8), static_cast<char>(size), type, 0, 0, 0, 0, stream};
  return absl::StrCat(absl::string_view(header, sizeof(header)), payload);
}

// An HTTP/2 client of a port on loopback.
class Client {
 public:
  // `own_port` may be the port of another client of another server port; 0 is any free port.
  Client(int port, int own_port) {
    const int yes = 1;
    const timeval limit = {20, 0};
    setsockopt(socket_, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
    setsockopt(socket_, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    setsockopt(socket_, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
    const sockaddr_in here = Address(own_port), there = Address(port);
    EXPECT_EQ(bind(socket_, reinterpret_cast<const sockaddr*>(&here), sizeof(here)), 0);
    EXPECT_EQ(connect(socket_, reinterpret_cast<const sockaddr*>(&there), sizeof(there)), 0);
    EXPECT_TRUE(Send(absl::StrCat("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Frame(kSettings, 0, ""))));
  }
  ~Client() { close(socket_); }
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  int OwnPort() const {
    sockaddr_in here = {};
    socklen_t size = sizeof(here);
    getsockname(socket_, reinterpret_cast<sockaddr*>(&here), &size);
    return ntohs(here.sin_port);
  }

  bool Send(absl::string_view bytes) const {
    return send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL) ==
           static_cast<ssize_t>(bytes.size());
  }

  // Whether the server still responds.
  bool IsConnected() const {
    const std::string token = "12345678";
    if (!Send(Frame(kPing, 0, token))) return false;
    std::string received;
    char bytes[4096];
    while (received.find(token) == std::string::npos) {
      const ssize_t size = recv(socket_, bytes, sizeof(bytes), 0);
      if (size <= 0) return false;
      received.append(bytes, static_cast<size_t>(size));
    }
    return true;
  }

 private:
  static sockaddr_in Address(int port) {
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
  }

  const int socket_ = socket(AF_INET, SOCK_STREAM, 0);
};

// Regression: sockets were identified only by the client's address and port.
TEST(ConnectionGuardTest, CutsTheConnectionThatFloodsAndNotItsTwin) {
  int quiet_port = 0, flooded_port = 0;
  v1::Sites::Service service;
  grpc::ServerBuilder builder;
  builder.RegisterService(&service);
  builder.AddChannelArgument(GRPC_ARG_ENABLE_CHANNELZ, 1);
  for (int* port : {&quiet_port, &flooded_port}) {
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), port);
  }
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  ASSERT_NE(server, nullptr);

  prometheus::Registry registry;
  std::promise<std::string> cut;
  const ConnectionGuard guard(
      {/*memory_bytes=*/0, /*calls_of_connection=*/100, /*message_bytes=*/1 << 20,
       /*unfinished_bytes=*/1 << 30},
      [&](const std::string& client, const char* /*reason*/) { cut.set_value(client); }, registry);

  const Client quiet(quiet_port, 0);
  ASSERT_TRUE(quiet.IsConnected());
  const Client flooder(flooded_port, quiet.OwnPort());
  // An endless sequence of `x: v`.
  std::string fields;
  for (int field = 0; field < 2400; ++field) fields += std::string("\x00\x01x\x01v", 5);
  bool sent = flooder.Send(Frame(kHeaders, 1, fields));
  for (int frame = 0; sent && frame < 5'000; ++frame) {
    sent = flooder.Send(Frame(kContinuation, 1, fields));
  }
  ASSERT_FALSE(sent) << "it was never cut";
  EXPECT_TRUE(quiet.IsConnected());
  std::future<std::string> client = cut.get_future();
  ASSERT_EQ(client.wait_for(std::chrono::seconds(20)), std::future_status::ready);
  EXPECT_EQ(client.get(), absl::StrCat("127.0.0.1 port ", quiet.OwnPort()));
}

}  // namespace
}  // namespace energysites
