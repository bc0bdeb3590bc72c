#include "services/sites/sites_service.h"

#include "services/rpc/page_token.h"
#include "services/rpc/request_hash.h"
#include "storage/sites/site_repository.h"
#include "validation/update_mask.h"

namespace energysites {

using google::protobuf::Empty;
using storage::Page;
using storage::Session;
using storage::SiteRepository;

SitesService::SitesService(ServiceContext& context) : RawService(context) {
  Serve<v1::CreateSiteRequest, v1::Site>(
      "CreateSite", kAllSites, [](Session& session, const v1::CreateSiteRequest& request) {
        return SiteRepository(session).Create(request, WriteRequestOf(request, storage::kNoSite));
      });
  ServeBatched<v1::GetSiteRequest, v1::Site>(
      "GetSite", "id", kManyReads, [](const v1::GetSiteRequest& request) { return request.id(); },
      [](Session& session, const std::vector<const v1::GetSiteRequest*>& requests) {
        std::vector<int64_t> ids;
        for (const auto* request : requests) ids.push_back(request->id());
        return SiteRepository(session).GetMany(ids);
      });
  Serve<v1::ListSitesRequest, v1::ListSitesResponse>(
      "ListSites", kAllSites,
      [](Session& session,
         const v1::ListSitesRequest& request) -> absl::StatusOr<v1::ListSitesResponse> {
        v1::ListSitesResponse response;
        auto next_page_token = ListPage(
            request, 1, [&](const Page& page) { return SiteRepository(session).List(page); },
            [](const v1::Site& site) -> std::vector<int64_t> { return {site.id()}; },
            [&](v1::Site site) { *response.add_sites() = std::move(site); });
        if (!next_page_token.ok()) return next_page_token.status();
        response.set_next_page_token(*std::move(next_page_token));
        return response;
      });
  Serve<v1::UpdateSiteRequest, v1::Site>(
      "UpdateSite", "site.id", [](Session& session, const v1::UpdateSiteRequest& request) {
        return SiteRepository(session).Update(request, FieldsToUpdate(request));
      });
  Serve<v1::DeleteSiteRequest, Empty>("DeleteSite", "id",
                                      [](Session& session, const v1::DeleteSiteRequest& request) {
                                        return SiteRepository(session).Delete(request);
                                      });
}

}  // namespace energysites
