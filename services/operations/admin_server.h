// The admin port: /metrics for Prometheus, /livez and /readyz for the orchestrator.
#ifndef SERVICES_OPERATIONS_ADMIN_SERVER_H_
#define SERVICES_OPERATIONS_ADMIN_SERVER_H_

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "prometheus/metric_family.h"

class CivetServer;

namespace energysites {

class AdminServer {
 public:
  // Listens on `address` ("127.0.0.1:9464"). `collect` returns the metrics. `ready` returns OK if
  // calls can be served now, otherwise the reason. Both must be thread-safe. Returns UNAVAILABLE if
  // the address is not available.
  static absl::StatusOr<std::unique_ptr<AdminServer>> Start(
      const std::string& address, std::function<std::vector<prometheus::MetricFamily>()> collect,
      std::function<absl::Status()> ready);
  ~AdminServer();

 private:
  class Handler;

  AdminServer(std::unique_ptr<Handler> handler, std::unique_ptr<CivetServer> server);

  // `server_` uses `handler_`, so it is destroyed first.
  std::unique_ptr<Handler> handler_;
  std::unique_ptr<CivetServer> server_;
};

}  // namespace energysites

#endif  // SERVICES_OPERATIONS_ADMIN_SERVER_H_
