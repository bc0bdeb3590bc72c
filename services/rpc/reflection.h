// Server reflection v1, which gRPC 1.51 has as v1alpha only.
#ifndef SERVICES_RPC_REFLECTION_H_
#define SERVICES_RPC_REFLECTION_H_

#include <string>
#include <vector>

#include "grpc/reflection/v1/reflection.grpc.pb.h"

namespace energysites {

// Answers from the descriptors built into the program.
class ReflectionService final : public grpc::reflection::v1::ServerReflection::CallbackService {
 public:
  // `services`: the full names to list, this one's included.
  explicit ReflectionService(std::vector<std::string> services);

  grpc::ServerBidiReactor<grpc::reflection::v1::ServerReflectionRequest,
                          grpc::reflection::v1::ServerReflectionResponse>*
  ServerReflectionInfo(grpc::CallbackServerContext* context) override;

 private:
  const std::vector<std::string> services_;
};

}  // namespace energysites

#endif  // SERVICES_RPC_REFLECTION_H_
