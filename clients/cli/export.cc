#include "clients/cli/export.h"

#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "clients/cli/csv.h"
#include "clients/cli/field_text.h"
#include "clients/cli/output_file.h"
#include "clients/cli/rows.h"
#include "clients/cli/site_index.h"

namespace energysites {
namespace {

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

// Has no deadline, because an export may be of any size, and no retry, because written rows cannot
// be removed from the output.
absl::Status WriteEntries(const Connection& connection, const v1::Site& site,
                          v1::ExportLiveDataRequest request, std::ostream& out) {
  request.add_site_ids(site.id());
  out << WriteHeader(LiveDataColumns()) << '\n';
  grpc::ClientContext context;
  const auto stream = connection.live_data().ExportLiveData(&context, request);
  v1::ExportLiveDataResponse part;
  int64_t rows = 0;
  while (stream->Read(&part)) {
    for (const v1::LiveDataEntry& entry : part.live_data_entries()) {
      out << WriteRow(entry, LiveDataColumns(), site.name()) << '\n';
    }
    rows += part.live_data_entries_size();
    if (out.good()) continue;
    context.TryCancel();
    break;
  }
  const grpc::Status status = stream->Finish();
  if (out.good() && !status.ok()) return ToAbslStatus(status, "the export is not complete");
  out << EndLine(rows) << '\n' << std::flush;
  if (!out.good()) return absl::DataLossError("the output cannot be written");
  return absl::OkStatus();
}

absl::Status Export(const ExportOptions& options, std::ostream& out) {
  if (options.site.empty()) {
    return absl::InvalidArgumentError("specify the site with --site=NAME or --site_id=ID");
  }
  absl::StatusOr<v1::ExportLiveDataRequest> request = RangeOf(options);
  if (!request.ok()) return request.status();
  if (absl::Status valid = CheckChoice(options.site); !valid.ok()) return valid;
  absl::StatusOr<Connection> connection = Connection::Open(options.connection);
  if (!connection.ok()) return connection.status();
  absl::StatusOr<v1::Site> site = FindSite(*connection, options.site);
  if (!site.ok()) return site.status();
  if (options.output.empty()) return WriteEntries(*connection, *site, *std::move(request), out);
  absl::StatusOr<std::unique_ptr<OutputFile>> file = OutputFile::Open(options.output);
  if (!file.ok()) return file.status();
  const absl::Status written =
      WriteEntries(*connection, *site, *std::move(request), (*file)->stream());
  if (!(*file)->status().ok()) return (*file)->status();
  if (!written.ok()) return written;
  return (*file)->Commit();
}

}  // namespace

int RunExport(const ExportOptions& options, std::ostream& out, std::ostream& err) {
  const absl::Status status = Export(options, out);
  if (status.ok()) return 0;
  err << "energy-sites export: " << status.message() << std::endl;
  return 1;
}

}  // namespace energysites
