// A gRPC connection to the service that retries failed calls.
#pragma once

#include <google/rpc/status.pb.h>
#include <grpcpp/grpcpp.h>

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "energysites/v1/configurations.grpc.pb.h"
#include "energysites/v1/live_data.grpc.pb.h"
#include "energysites/v1/sites.grpc.pb.h"

namespace energysites {

struct ConnectionOptions {
  std::string target = "127.0.0.1:50051";
  std::string tls_ca;           // PEM file; empty = no TLS
  std::string tls_client_cert;  // PEM files of the client certificate (mTLS); empty = none
  std::string tls_client_key;
  std::string token_file;  // File with an access token; requires TLS; empty = none
  absl::Duration connect_timeout = absl::Seconds(5);
  absl::Duration call_timeout = absl::Seconds(60);
  // How long a call is retried while it fails with a retryable code.
  absl::Duration retry_timeout = absl::Seconds(60);
};

// Thread-safe.
class Connection {
 public:
  // Returns UNAVAILABLE if no connection is established within `connect_timeout`.
  static absl::StatusOr<Connection> Open(const ConnectionOptions& options);

  // Runs `call` and retries it while its status is retryable (see IsRetryable), for at most
  // `retry_timeout`. Waits for the delay in RetryInfo, or with exponential backoff if the status
  // has none. A failed call may have taken effect, so `call` must be idempotent.
  grpc::Status Call(const std::function<grpc::Status(grpc::ClientContext&)>& call) const;

  v1::Sites::Stub& sites() const { return *sites_; }
  v1::Configurations::Stub& configurations() const { return *configurations_; }
  v1::LiveData::Stub& live_data() const { return *live_data_; }

 private:
  Connection(const ConnectionOptions& options, const std::shared_ptr<grpc::Channel>& channel);

  ConnectionOptions options_;
  std::unique_ptr<v1::Sites::Stub> sites_;
  std::unique_ptr<v1::Configurations::Stub> configurations_;
  std::unique_ptr<v1::LiveData::Stub> live_data_;
};

// Creates a resource exactly once. `create` runs with a request id derived from `content`, so the
// service answers a create that an earlier run finished or started without repeating it. The
// service also remembers requests whose resource was deleted later. `exists` therefore reads the
// resource that `create` returned; if it returns NOT_FOUND, the next request id is used.
grpc::Status CreateOnce(const std::string& content,
                        const std::function<grpc::Status(const std::string& request_id)>& create,
                        const std::function<grpc::Status()>& exists);

// Returns whether a call that failed with `status` may succeed later: UNAVAILABLE,
// RESOURCE_EXHAUSTED, DEADLINE_EXCEEDED, and INTERNAL for a stream reset by a proxy.
bool IsRetryable(const grpc::Status& status);

// Returns `status` with its details.
google::rpc::Status ToRpcStatus(const grpc::Status& status);

// Returns `status` with `what` before its message; keeps the code.
absl::Status ToAbslStatus(const grpc::Status& status, absl::string_view what);

}  // namespace energysites
