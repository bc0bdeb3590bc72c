#include "services/client/site_index.h"

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"

namespace energysites {

absl::StatusOr<SiteIndex> SiteIndex::Load(const Connection& connection) {
  SiteIndex index;
  v1::ListSitesRequest request;
  request.set_page_size(1000);
  do {
    v1::ListSitesResponse page;
    const grpc::Status status = connection.Call([&](grpc::ClientContext& context) {
      return connection.sites().ListSites(&context, request, &page);
    });
    if (!status.ok()) return ToAbslStatus(status, "the sites cannot be listed");
    for (const v1::Site& site : page.sites()) index.Add(site.name(), {site.id()});
    request.set_page_token(page.next_page_token());
  } while (!request.page_token().empty());
  return index;
}

void SiteIndex::Add(absl::string_view name, KnownSite site) {
  Named& named = by_name_[name];
  if (named.count++ == 0) named.first = site;
}

absl::StatusOr<KnownSite> SiteIndex::Find(absl::string_view name) const {
  // Cut, and escaped: names come from a file and go to a terminal.
  const auto quoted = [name] { return absl::Utf8SafeCEscape(name.substr(0, 80)); };
  const auto found = by_name_.find(name);
  if (found == by_name_.end()) {
    return absl::NotFoundError(absl::StrCat("there is no site named \"", quoted(), "\""));
  }
  if (found->second.count > 1) {
    return absl::FailedPreconditionError(
        absl::StrCat(found->second.count, " sites are named \"", quoted(), "\""));
  }
  return found->second.first;
}

}  // namespace energysites
