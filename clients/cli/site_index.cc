#include "clients/cli/site_index.h"

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "clients/cli/utf8.h"

namespace energysites {
namespace {

absl::StatusOr<v1::Site> SiteById(const Connection& connection, int64_t id) {
  v1::GetSiteRequest request;
  request.set_id(id);
  v1::Site site;
  const grpc::Status status = connection.Call([&](grpc::ClientContext& context) {
    return connection.sites().GetSite(&context, request, &site);
  });
  if (status.error_code() == grpc::StatusCode::NOT_FOUND) {
    return absl::NotFoundError(absl::StrCat("no site has the id ", id));
  }
  if (!status.ok()) return ToAbslStatus(status, absl::StrCat("site ", id));
  return site;
}

}  // namespace

absl::Status CheckChoice(const SiteChoice& choice) {
  if (!choice.name.empty() && !choice.id.empty()) {
    return absl::InvalidArgumentError("give --site=NAME or --site_id=ID, not both");
  }
  int64_t id = 0;
  if (choice.id.empty() || (absl::SimpleAtoi(choice.id, &id) && id > 0)) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("--site_id: ", Quoted(choice.id),
                   " is not an id; an id is a number such as 108; use --site for a name"));
}

absl::StatusOr<v1::Site> FindSite(const Connection& connection, const SiteChoice& choice) {
  const auto with_flag = [](const char* flag, const absl::Status& status, const char* advice) {
    return absl::Status(status.code(), absl::StrCat(flag, ": ", status.message(), advice));
  };
  int64_t id = 0;
  if (absl::SimpleAtoi(choice.id, &id)) {
    absl::StatusOr<v1::Site> site = SiteById(connection, id);
    if (absl::IsNotFound(site.status())) return with_flag("--site_id", site.status(), "");
    return site;
  }
  absl::StatusOr<SiteIndex> sites = SiteIndex::Load(connection);
  if (!sites.ok()) return sites.status();
  absl::StatusOr<KnownSite> known = sites->Find(choice.name);
  if (!known.ok()) return with_flag("--site", known.status(), "; use --site_id for an id");
  return SiteById(connection, known->id);
}

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
  const auto found = by_name_.find(name);
  if (found == by_name_.end()) {
    return absl::NotFoundError(absl::StrCat("there is no site named ", Quoted(name)));
  }
  if (found->second.count > 1) {
    return absl::FailedPreconditionError(
        absl::StrCat(found->second.count, " sites are named ", Quoted(name)));
  }
  return Checked(found->second.first);
}

absl::StatusOr<KnownSite> SiteIndex::FindId(absl::string_view text) const {
  KnownSite site;
  if (!absl::SimpleAtoi(text, &site.id)) {
    return absl::InvalidArgumentError(absl::StrCat(Quoted(text), " is not a number"));
  }
  return Checked(site);
}

absl::StatusOr<KnownSite> SiteIndex::Checked(KnownSite site) const {
  if (!only_id_.has_value() || site.id == *only_id_) return site;
  return absl::FailedPreconditionError(absl::StrCat("the row belongs to site ", site.id,
                                                    "; --site or --site_id restricts the ",
                                                    "import to site ", *only_id_));
}

}  // namespace energysites
