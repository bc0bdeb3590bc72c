#include "services/operations/admin_server.h"

#include <CivetServer.h>

#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "prometheus/text_serializer.h"

namespace energysites {

using Collect = std::function<std::vector<prometheus::MetricFamily>()>;

class AdminServer::Handler : public CivetHandler {
 public:
  Handler(Collect collect, std::function<absl::Status()> ready)
      : collect_(std::move(collect)), ready_(std::move(ready)) {}

  bool handleGet(CivetServer*, mg_connection* connection) override {
    const absl::string_view path = mg_get_request_info(connection)->local_uri;
    if (path == "/livez") {
      Reply(connection, "200 OK", "ok\n");
    } else if (path == "/readyz") {
      const absl::Status ready = ready_();
      Reply(connection, ready.ok() ? "200 OK" : "503 Service Unavailable",
            ready.ok() ? "ok\n" : absl::StrCat(ready.message(), "\n"));
    } else if (path == "/metrics") {
      Reply(connection, "200 OK", prometheus::TextSerializer().Serialize(collect_()));
    } else {
      Reply(connection, "404 Not Found", "not found; valid paths: /metrics, /livez, /readyz\n");
    }
    return true;
  }

 private:
  static void Reply(mg_connection* connection, const char* status, const std::string& body) {
    const std::string head = absl::StrCat(
        "HTTP/1.1 ", status, "\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n",
        "Content-Length: ", body.size(), "\r\n\r\n");
    mg_write(connection, head.data(), head.size());
    mg_write(connection, body.data(), body.size());
  }

  const Collect collect_;
  const std::function<absl::Status()> ready_;
};

AdminServer::AdminServer(std::unique_ptr<Handler> handler, std::unique_ptr<CivetServer> server)
    : handler_(std::move(handler)), server_(std::move(server)) {}

AdminServer::~AdminServer() { server_.reset(); }

absl::StatusOr<std::unique_ptr<AdminServer>> AdminServer::Start(
    const std::string& address, Collect collect, std::function<absl::Status()> ready) {
  auto handler = std::make_unique<Handler>(std::move(collect), std::move(ready));
  try {
    const std::vector<std::string> options = {"listening_ports", address, "num_threads", "2"};
    auto server = std::make_unique<CivetServer>(options);
    server->addHandler("/", *handler);
    return std::unique_ptr<AdminServer>(new AdminServer(std::move(handler), std::move(server)));
  } catch (const CivetException&) {
    return absl::UnavailableError(
        absl::StrCat("cannot listen on ", address, " (--admin_address): the port may be in use"));
  }
}

}  // namespace energysites
