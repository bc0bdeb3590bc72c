// The Configurations service.
#ifndef SERVICES_CONFIGURATIONS_CONFIGURATIONS_SERVICE_H_
#define SERVICES_CONFIGURATIONS_CONFIGURATIONS_SERVICE_H_

#include "energysites/v1/configurations.grpc.pb.h"
#include "services/rpc/raw_service.h"

namespace energysites {

class ConfigurationsService final : public RawService<v1::Configurations> {
 public:
  explicit ConfigurationsService(ServiceContext& context);
};

}  // namespace energysites

#endif  // SERVICES_CONFIGURATIONS_CONFIGURATIONS_SERVICE_H_
