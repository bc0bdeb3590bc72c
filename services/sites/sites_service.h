// The Sites service.
#ifndef SERVICES_SITES_SITES_SERVICE_H_
#define SERVICES_SITES_SITES_SERVICE_H_

#include "energysites/v1/sites.grpc.pb.h"
#include "services/rpc/raw_service.h"

namespace energysites {

class SitesService final : public RawService<v1::Sites> {
 public:
  explicit SitesService(ServiceContext& context);
};

}  // namespace energysites

#endif  // SERVICES_SITES_SITES_SERVICE_H_
