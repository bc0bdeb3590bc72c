// The admin port: /metrics for Prometheus, /livez and /readyz for whoever runs the process.
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
  // Listens on `address` ("127.0.0.1:9464"). `collect` gives the metrics, `ready` says whether
  // calls can be served now, and else why not; both are asked from any thread. Returns UNAVAILABLE
  // if the address cannot be had.
  static absl::StatusOr<std::unique_ptr<AdminServer>> Start(
      const std::string& address, std::function<std::vector<prometheus::MetricFamily>()> collect,
      std::function<absl::Status()> ready);
  ~AdminServer();

 private:
  class Handler;

  AdminServer(std::unique_ptr<Handler> handler, std::unique_ptr<CivetServer> server);

  // The server stops before its handler goes.
  std::unique_ptr<Handler> handler_;
  std::unique_ptr<CivetServer> server_;
};

}  // namespace energysites

#endif  // SERVICES_OPERATIONS_ADMIN_SERVER_H_
