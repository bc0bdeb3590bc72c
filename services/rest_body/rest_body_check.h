// What Envoy's ext_authz filter asks before it takes the body of a REST call apart: Envoy drops
// fields that it does not know, and a client would never learn of its mistake.
#ifndef SERVICES_REST_BODY_REST_BODY_CHECK_H_
#define SERVICES_REST_BODY_REST_BODY_CHECK_H_

#include "envoy/service/auth/v3/external_auth.grpc.pb.h"
#include "services/admission/caller.h"
#include "services/rest_body/rest_writes.h"

namespace energysites {

// The check reads nothing but the request: any server may answer it, whatever services it has.
class RestBodyCheck final : public envoy::service::auth::v3::Authorization::CallbackService {
 public:
  explicit RestBodyCheck(IdentitySource identity_source);

  grpc::ServerUnaryReactor* Check(grpc::CallbackServerContext* context,
                                  const envoy::service::auth::v3::CheckRequest* request,
                                  envoy::service::auth::v3::CheckResponse* response) override;

 private:
  const IdentitySource identity_source_;
  const RestWrites writes_;
};

}  // namespace energysites

#endif  // SERVICES_REST_BODY_REST_BODY_CHECK_H_
