// The LiveData service.
#ifndef SERVICES_LIVE_DATA_LIVE_DATA_SERVICE_H_
#define SERVICES_LIVE_DATA_LIVE_DATA_SERVICE_H_

#include "energysites/v1/live_data.grpc.pb.h"
#include "services/rpc/raw_service.h"

namespace energysites {

class LiveDataService final : public RawService<v1::LiveData> {
 public:
  explicit LiveDataService(ServiceContext& context);
};

}  // namespace energysites

#endif  // SERVICES_LIVE_DATA_LIVE_DATA_SERVICE_H_
