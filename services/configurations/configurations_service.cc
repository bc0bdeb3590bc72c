#include "services/configurations/configurations_service.h"

#include "services/rpc/page_token.h"
#include "services/rpc/request_hash.h"
#include "storage/configurations/configuration_repository.h"
#include "validation/update_mask.h"

namespace energysites {

using google::protobuf::Empty;
using storage::ConfigurationRepository;
using storage::Page;
using storage::Session;

ConfigurationsService::ConfigurationsService(ServiceContext& context) : RawService(context) {
  Serve<v1::CreateConfigurationRequest, v1::Configuration>(
      "CreateConfiguration", "configuration.site_id",
      [](Session& session, const v1::CreateConfigurationRequest& request) {
        return ConfigurationRepository(session).Create(
            request, WriteRequestOf(request, request.configuration().site_id()));
      });
  ServeBatched<v1::GetConfigurationRequest, v1::Configuration>(
      "GetConfiguration", "site_id", kManyReads,
      [](const v1::GetConfigurationRequest& request) { return request.site_id(); },
      [](Session& session, const std::vector<const v1::GetConfigurationRequest*>& requests) {
        std::vector<ConfigurationRepository::Key> keys;
        for (const auto* request : requests) keys.push_back({request->site_id(), request->id()});
        return ConfigurationRepository(session).GetMany(keys);
      });
  Serve<v1::ListConfigurationsRequest, v1::ListConfigurationsResponse>(
      "ListConfigurations", "site_id",
      [](Session& session, const v1::ListConfigurationsRequest& request)
          -> absl::StatusOr<v1::ListConfigurationsResponse> {
        v1::ListConfigurationsResponse response;
        auto next_page_token = ListPage(
            request, 2,
            [&](const Page& page) {
              return ConfigurationRepository(session).List(request.site_id(), page);
            },
            [](const v1::Configuration& configuration) -> std::vector<int64_t> {
              return {configuration.site_id(), configuration.id()};
            },
            [&](v1::Configuration configuration) {
              *response.add_configurations() = std::move(configuration);
            });
        if (!next_page_token.ok()) return next_page_token.status();
        response.set_next_page_token(*std::move(next_page_token));
        return response;
      });
  Serve<v1::UpdateConfigurationRequest, v1::Configuration>(
      "UpdateConfiguration", "configuration.site_id",
      [](Session& session, const v1::UpdateConfigurationRequest& request) {
        return ConfigurationRepository(session).Update(request, FieldsToUpdate(request));
      });
  Serve<v1::DeleteConfigurationRequest, Empty>(
      "DeleteConfiguration", "site_id",
      [](Session& session, const v1::DeleteConfigurationRequest& request) {
        return ConfigurationRepository(session).Delete(request);
      });
}

}  // namespace energysites
