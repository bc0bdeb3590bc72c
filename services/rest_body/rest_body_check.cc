#include "services/rest_body/rest_body_check.h"

#include <string>

#include "energysites/v1/configurations.pb.h"
#include "energysites/v1/live_data.pb.h"
#include "energysites/v1/sites.pb.h"
#include "google/protobuf/util/json_util.h"
#include "services/errors/errors.h"
#include "storage/errors/errors.h"

namespace energysites {
namespace {

using envoy::service::auth::v3::CheckRequest;
using envoy::service::auth::v3::CheckResponse;

std::vector<const google::protobuf::ServiceDescriptor*> Contract() {
  std::vector<const google::protobuf::ServiceDescriptor*> services;
  for (const auto* message :
       {v1::Site::descriptor(), v1::Configuration::descriptor(), v1::LiveDataEntry::descriptor()}) {
    for (int i = 0; i < message->file()->service_count(); ++i) {
      services.push_back(message->file()->service(i));
    }
  }
  return services;
}

// As the transcoder would write the status, had a service answered it.
std::string JsonOf(const absl::Status& status) {
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  options.always_print_primitive_fields = true;
  std::string json;
  const auto printed =
      google::protobuf::util::MessageToJsonString(storage::ToRpcStatus(status), &json, options);
  return printed.ok() ? json : "";
}

}  // namespace

RestBodyCheck::RestBodyCheck(IdentitySource identity_source)
    : identity_source_(identity_source), writes_(Contract()) {}

grpc::ServerUnaryReactor* RestBodyCheck::Check(grpc::CallbackServerContext* context,
                                               const CheckRequest* request,
                                               CheckResponse* response) {
  auto* const reactor = context->DefaultReactor();
  if (!IsTrustedPeer(*context, identity_source_)) {
    reactor->Finish(ToGrpc(IdentityMissing()));
    return reactor;
  }
  const auto& http = request->attributes().request().http();
  const std::string& body = http.raw_body().empty() ? http.body() : http.raw_body();
  const auto header = [&](const char* name) -> absl::string_view {
    const auto found = http.headers().find(name);
    return found == http.headers().end() ? "" : absl::string_view(found->second);
  };
  const absl::Status status = writes_.Check(http.method(), http.path(), body,
                                            {header("content-type"), header("content-encoding")});
  response->mutable_status()->set_code(static_cast<int>(status.code()));
  if (!status.ok()) {
    auto* const denied = response->mutable_denied_response();
    denied->mutable_status()->set_code(envoy::type::v3::BadRequest);
    denied->set_body(JsonOf(status));
    auto* const type = denied->add_headers()->mutable_header();
    type->set_key("content-type");
    type->set_value("application/json");
  }
  reactor->Finish(grpc::Status::OK);
  return reactor;
}

}  // namespace energysites
