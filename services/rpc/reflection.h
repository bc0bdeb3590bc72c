// Server reflection v1; gRPC 1.51 provides only v1alpha.
#ifndef SERVICES_RPC_REFLECTION_H_
#define SERVICES_RPC_REFLECTION_H_

#include <string>
#include <vector>

#include "grpc/reflection/v1/reflection.grpc.pb.h"

namespace energysites {

// Serves the descriptors that are linked into the program.
class ReflectionService final : public grpc::reflection::v1::ServerReflection::CallbackService {
 public:
  // `services` are the full names to list, including that of this service.
  explicit ReflectionService(std::vector<std::string> services);

  grpc::ServerBidiReactor<grpc::reflection::v1::ServerReflectionRequest,
                          grpc::reflection::v1::ServerReflectionResponse>*
  ServerReflectionInfo(grpc::CallbackServerContext* context) override;

 private:
  const std::vector<std::string> services_;
};

}  // namespace energysites

#endif  // SERVICES_RPC_REFLECTION_H_
