#include "services/client/export.h"

#include <fstream>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "services/client/field_text.h"
#include "services/client/rows.h"
#include "services/client/site_index.h"

namespace energysites {
namespace {

absl::StatusOr<v1::Site> SiteById(const Connection& connection, int64_t id) {
  v1::GetSiteRequest request;
  request.set_id(id);
  v1::Site site;
  const grpc::Status status = connection.Call([&](grpc::ClientContext& context) {
    return connection.sites().GetSite(&context, request, &site);
  });
  if (!status.ok()) return ToAbslStatus(status, absl::StrCat("site ", id));
  return site;
}

absl::StatusOr<v1::Site> FindSite(const Connection& connection, const std::string& name_or_id) {
  int64_t id = 0;
  if (absl::SimpleAtoi(name_or_id, &id) && id > 0) {
    absl::StatusOr<v1::Site> site = SiteById(connection, id);
    if (!absl::IsNotFound(site.status())) return site;
  }
  absl::StatusOr<SiteIndex> sites = SiteIndex::Load(connection);
  if (!sites.ok()) return sites.status();
  absl::StatusOr<KnownSite> known = sites->Find(name_or_id);
  if (!known.ok()) return known.status();
  return SiteById(connection, known->id);
}

absl::Status SetBound(const std::string& flag, const std::string& text,
                      google::protobuf::Timestamp& bound) {
  absl::StatusOr<google::protobuf::Timestamp> stamp = ParseStamp(text);
  if (!stamp.ok())
    return absl::InvalidArgumentError(absl::StrCat(flag, ": ", stamp.status().message()));
  bound = *stamp;
  return absl::OkStatus();
}

absl::StatusOr<v1::ExportLiveDataRequest> RangeOf(const ExportOptions& options) {
  v1::ExportLiveDataRequest request;
  absl::Status status;
  if (!options.start_time.empty()) {
    status.Update(SetBound("--start_time", options.start_time, *request.mutable_start_time()));
  }
  if (!options.end_time.empty()) {
    status.Update(SetBound("--end_time", options.end_time, *request.mutable_end_time()));
  }
  if (!status.ok()) return status;
  return request;
}

// No deadline: an export takes as long as it is large. Nor a second try, for what was written is
// out of our hands.
absl::Status WriteEntries(const Connection& connection, const v1::Site& site,
                          v1::ExportLiveDataRequest request, std::ostream& out) {
  request.add_site_ids(site.id());
  out << WriteHeader(LiveDataColumns()) << '\n';
  grpc::ClientContext context;
  const auto stream = connection.live_data().ExportLiveData(&context, request);
  v1::ExportLiveDataResponse part;
  while (stream->Read(&part)) {
    for (const v1::LiveDataEntry& entry : part.live_data_entries()) {
      out << WriteRow(entry, LiveDataColumns(), site.name()) << '\n';
    }
    if (out.good()) continue;
    context.TryCancel();
    break;
  }
  out.flush();
  const grpc::Status status = stream->Finish();
  if (!out.good()) return absl::DataLossError("the output cannot be written");
  if (!status.ok()) return ToAbslStatus(status, "the export is not complete");
  return absl::OkStatus();
}

absl::Status Export(const ExportOptions& options, std::ostream& out) {
  if (options.site.empty()) return absl::InvalidArgumentError("--site is missing: a name or an id");
  absl::StatusOr<v1::ExportLiveDataRequest> request = RangeOf(options);
  if (!request.ok()) return request.status();
  absl::StatusOr<Connection> connection = Connection::Open(options.connection);
  if (!connection.ok()) return connection.status();
  absl::StatusOr<v1::Site> site = FindSite(*connection, options.site);
  if (!site.ok()) return site.status();
  if (options.output.empty()) return WriteEntries(*connection, *site, *std::move(request), out);
  // Opened last, so that a mistyped site leaves an older file alone.
  std::ofstream file(options.output, std::ios::binary);
  if (!file) return absl::UnavailableError(absl::StrCat(options.output, ": cannot be written"));
  return WriteEntries(*connection, *site, *std::move(request), file);
}

}  // namespace

int RunExport(const ExportOptions& options, std::ostream& out, std::ostream& err) {
  const absl::Status status = Export(options, out);
  if (status.ok()) return 0;
  err << "energy-sites export: " << status.message() << std::endl;
  return 1;
}

}  // namespace energysites
