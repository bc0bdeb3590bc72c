// The server: the three services, health, reflection and the admin port on one process.
#ifndef SERVICES_SERVER_SERVER_H_
#define SERVICES_SERVER_SERVER_H_

#include <vector>

#include "absl/status/status.h"
#include "grpcpp/impl/service_type.h"
#include "services/server/options.h"

namespace energysites {

// Serves until SIGTERM or SIGINT, then drains: health says NOT_SERVING, calls under way may finish
// within `drain`, what is left is cut off. While the database is away the server stays up, says
// NOT_SERVING and answers UNAVAILABLE.
//
// Returns OK after a drain, UNAVAILABLE if an address cannot be had, INVALID_ARGUMENT if a TLS
// file is unreadable, UNIMPLEMENTED if the contract declares a rule that is not supported. Blocks
// the two signals for the whole process: call it before any thread starts.
//
// `extra` services are served beside those of `options`; they outlive the call.
absl::Status Serve(const ServerOptions& options, const std::vector<grpc::Service*>& extra = {});

}  // namespace energysites

#endif  // SERVICES_SERVER_SERVER_H_
