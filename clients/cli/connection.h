// A connection to the service with patience: calls that may succeed later are made again.
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
  std::string tls_client_cert;  // PEM files, for a server that asks for them (mTLS)
  std::string tls_client_key;
  std::string token_file;  // With the token for a gateway that asks for one; needs TLS
  absl::Duration connect_timeout = absl::Seconds(5);
  absl::Duration call_timeout = absl::Seconds(60);
  // How long a call is made again while it fails with a code that may pass.
  absl::Duration patience = absl::Seconds(60);
};

// Thread-safe.
class Connection {
 public:
  // UNAVAILABLE if nothing answers at the target within `connect_timeout`.
  static absl::StatusOr<Connection> Open(const ConnectionOptions& options);

  // Makes `call` until it answers or `patience` is over: UNAVAILABLE, RESOURCE_EXHAUSTED and
  // DEADLINE_EXCEEDED are tried again after what RetryInfo asks for, else after growing pauses.
  // Nobody knows what became of a call that failed so: `call` must be one that may be repeated.
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

// A create that is done once, however often it is asked for: `create` runs with a request id made
// of `content`, so that the same create of an earlier run, done or still under way, is answered
// and not repeated. But the service also remembers what was deleted since. So `exists` asks for
// what `create` answered; on NOT_FOUND the next id is tried.
grpc::Status CreateOnce(const std::string& content,
                        const std::function<grpc::Status(const std::string& request_id)>& create,
                        const std::function<grpc::Status()>& exists);

// Whether a call that failed so may succeed later.
bool MayPass(const grpc::Status& status);

// The status with its details, as failed_requests has it.
google::rpc::Status ToRpcStatus(const grpc::Status& status);

// `what` and why it failed; keeps the code.
absl::Status ToAbslStatus(const grpc::Status& status, absl::string_view what);

}  // namespace energysites
