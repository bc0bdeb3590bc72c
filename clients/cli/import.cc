#include "clients/cli/import.h"

#include <memory>
#include <optional>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "clients/cli/csv_file.h"
#include "clients/cli/live_data_import.h"
#include "clients/cli/progress.h"
#include "clients/cli/report.h"
#include "clients/cli/rows.h"
#include "clients/cli/site_index.h"

namespace energysites {
namespace {

// Configurations are equal if all columns of the file are.
std::string KeyOf(const v1::Configuration& configuration) {
  return absl::StrCat(configuration.site_id(), ":",
                      WriteRow(configuration, ConfigurationColumns(), ""));
}

// Imports the three files one after the other.
class Import {
 public:
  Import(const Connection& connection, SiteIndex sites, Progress& progress)
      : connection_(connection), sites_(std::move(sites)), progress_(progress) {}

  // Rows of configurations and live data that belong to other sites are errors from now on.
  absl::Status RestrictTo(const SiteChoice& choice);

  // Each method stores the rows of `file` that are not stored yet. An error ends the import.
  absl::Status Sites(CsvFile& file, Counts& counts);
  absl::Status Configurations(CsvFile& file, Counts& counts);
  absl::Status LiveData(CsvFile& file, Counts& counts) {
    return ImportLiveData(connection_, sites_, file, progress_, counts);
  }

 private:
  // How often a configuration is stored, and how often it has occurred in the file so far.
  struct Occurrences {
    int stored = 0;
    int read = 0;
  };
  using OccurrencesByKey = absl::flat_hash_map<std::string, Occurrences>;

  absl::StatusOr<OccurrencesByKey> StoredConfigurations();
  // Prints the errors of a row and counts it as bad.
  void Reject(const CsvFile& file, const std::vector<Fault>& faults, Counts& counts);
  // Counts a row by the status of its create. Returns the statuses that are not caused by the row.
  absl::Status CountResult(const grpc::Status& status, const CsvFile& file, int64_t line,
                           absl::string_view resource, Counts& counts);

  const Connection& connection_;
  SiteIndex sites_;
  Progress& progress_;
};

absl::Status Import::RestrictTo(const SiteChoice& choice) {
  const absl::StatusOr<v1::Site> site = FindSite(connection_, choice);
  if (site.ok()) sites_.RestrictTo(site->id());
  return site.status();
}

void Import::Reject(const CsvFile& file, const std::vector<Fault>& faults, Counts& counts) {
  ++counts.bad;
  for (const Fault& fault : faults) {
    progress_.Print(absl::StrCat(file.path(), ":", fault.line, ": ", fault.text));
  }
}

absl::Status Import::CountResult(const grpc::Status& status, const CsvFile& file, int64_t line,
                                 absl::string_view resource, Counts& counts) {
  switch (status.error_code()) {
    case grpc::StatusCode::OK:
      ++counts.created;
      return absl::OkStatus();
    case grpc::StatusCode::INVALID_ARGUMENT:
    case grpc::StatusCode::NOT_FOUND:
      Reject(file, FaultsOf(ToRpcStatus(status), line, resource), counts);
      return absl::OkStatus();
    default:
      return ToAbslStatus(status, absl::StrCat("line ", line));
  }
}

absl::Status Import::Sites(CsvFile& file, Counts& counts) {
  absl::flat_hash_map<std::string, int64_t> line_of;
  while (true) {
    absl::StatusOr<std::optional<CsvRow>> row = file.Next();
    if (!row.ok() || !row->has_value()) return row.status();
    const int64_t line = (*row)->line;
    ++counts.rows;
    v1::CreateSiteRequest request;
    std::vector<Fault> faults = ReadRow(**row, SiteColumns(), "site", *request.mutable_site());
    if (faults.empty()) {
      const auto [first, added] = line_of.emplace(request.site().name(), line);
      if (!added) {
        faults.push_back({line, absl::StrCat("site.name: is the same as in line ", first->second,
                                             "; a name must occur only once")});
      }
    }
    if (!faults.empty()) {
      Reject(file, faults, counts);
      continue;
    }
    if (sites_.Contains(request.site().name())) {
      ++counts.present;
      continue;
    }
    v1::Site site;
    const grpc::Status status = CreateOnce(
        request.site().SerializeAsString(),
        [&](const std::string& request_id) {
          request.set_request_id(request_id);
          return connection_.Call([&](grpc::ClientContext& context) {
            return connection_.sites().CreateSite(&context, request, &site);
          });
        },
        [&] {
          v1::GetSiteRequest get;
          get.set_id(site.id());
          return connection_.Call([&](grpc::ClientContext& context) {
            return connection_.sites().GetSite(&context, get, &site);
          });
        });
    if (status.ok()) sites_.Add(site.name(), {site.id(), /*created_by_this_run=*/true});
    absl::Status result = CountResult(status, file, line, "site", counts);
    if (!result.ok()) return result;
  }
}

absl::StatusOr<Import::OccurrencesByKey> Import::StoredConfigurations() {
  OccurrencesByKey seen;
  v1::ListConfigurationsRequest request;
  request.set_page_size(1000);
  do {
    v1::ListConfigurationsResponse page;
    const grpc::Status status = connection_.Call([&](grpc::ClientContext& context) {
      return connection_.configurations().ListConfigurations(&context, request, &page);
    });
    if (!status.ok()) return ToAbslStatus(status, "the configurations cannot be listed");
    for (const v1::Configuration& configuration : page.configurations()) {
      ++seen[KeyOf(configuration)].stored;
    }
    request.set_page_token(page.next_page_token());
  } while (!request.page_token().empty());
  return seen;
}

absl::Status Import::Configurations(CsvFile& file, Counts& counts) {
  absl::StatusOr<OccurrencesByKey> seen = StoredConfigurations();
  if (!seen.ok()) return seen.status();
  while (true) {
    absl::StatusOr<std::optional<CsvRow>> row = file.Next();
    if (!row.ok() || !row->has_value()) return row.status();
    const int64_t line = (*row)->line;
    ++counts.rows;
    v1::CreateConfigurationRequest request;
    v1::Configuration& wanted = *request.mutable_configuration();
    std::vector<Fault> faults = ReadRow(**row, ConfigurationColumns(), "configuration", wanted);
    if ((*row)->status.ok()) {
      const absl::StatusOr<KnownSite> site = sites_.Find((*row)->fields.front());
      if (site.ok()) {
        wanted.set_site_id(site->id);
      } else {
        faults.push_back({line, absl::StrCat("site_name: ", site.status().message())});
      }
    }
    if (!faults.empty()) {
      Reject(file, faults, counts);
      continue;
    }
    const std::string key = KeyOf(wanted);
    Occurrences& times = (*seen)[key];
    if (++times.read <= times.stored) {
      ++counts.present;
      continue;
    }
    v1::Configuration configuration;
    const grpc::Status status = CreateOnce(
        absl::StrCat(times.read, ":", key),
        [&](const std::string& request_id) {
          request.set_request_id(request_id);
          return connection_.Call([&](grpc::ClientContext& context) {
            return connection_.configurations().CreateConfiguration(&context, request,
                                                                    &configuration);
          });
        },
        [&] {
          v1::GetConfigurationRequest get;
          get.set_site_id(configuration.site_id());
          get.set_id(configuration.id());
          return connection_.Call([&](grpc::ClientContext& context) {
            return connection_.configurations().GetConfiguration(&context, get, &configuration);
          });
        });
    absl::Status result = CountResult(status, file, line, "configuration", counts);
    if (!result.ok()) return result;
  }
}

// One of the three files to import.
struct Part {
  absl::string_view name;
  const std::string& path;
  const std::vector<CsvColumn>& columns;
  absl::Status (Import::*run)(CsvFile&, Counts&);
  std::unique_ptr<CsvFile> file;
};

// Reads a regular file to its end to find damage before anything is stored. A pipe cannot be read
// twice and is checked during the import.
absl::Status CheckReadable(const CsvFile& file, const std::vector<CsvColumn>& columns) {
  if (!file.is_regular()) return absl::OkStatus();
  absl::StatusOr<std::unique_ptr<CsvFile>> copy = CsvFile::Open(file.path(), columns);
  if (!copy.ok()) return copy.status();
  while (true) {
    const absl::StatusOr<std::optional<CsvRow>> row = (*copy)->Next();
    if (!row.ok() || !row->has_value()) return row.status();
  }
}

std::string Summary(const Part& part, const Counts& counts, absl::Duration took) {
  const double seconds = absl::ToDoubleSeconds(took);
  return absl::StrCat(part.name, ": ", WithCommas(counts.rows),
                      " rows: ", WithCommas(counts.created), " stored, ",
                      WithCommas(counts.present), " stored before, ", WithCommas(counts.bad),
                      " bad (", absl::StrFormat("%.1f", seconds), " s, ",
                      WithCommas(static_cast<int64_t>(counts.rows / seconds)), " rows/s)");
}

}  // namespace

int RunImport(const ImportOptions& options, std::ostream& out, std::ostream& err) {
  const auto fail = [&err](const absl::Status& status) {
    err << "energy-sites import: " << status.message() << std::endl;
    return 1;
  };
  Part parts[] = {
      {"sites", options.sites, SiteColumns(), &Import::Sites, nullptr},
      {"configurations", options.configurations, ConfigurationColumns(), &Import::Configurations,
       nullptr},
      {"live_data", options.live_data, LiveDataOrDownloadColumns(), &Import::LiveData, nullptr},
  };
  if (absl::Status valid = CheckChoice(options.site); !valid.ok()) return fail(valid);
  // Check all paths, headers and files before anything is stored.
  bool any = false;
  for (Part& part : parts) {
    if (part.path.empty()) continue;
    absl::StatusOr<std::unique_ptr<CsvFile>> file = CsvFile::Open(part.path, part.columns);
    if (!file.ok()) return fail(file.status());
    part.file = *std::move(file);
    if (absl::Status whole = CheckReadable(*part.file, part.columns); !whole.ok())
      return fail(whole);
    any = true;
  }
  if (!any) {
    return fail(absl::InvalidArgumentError(
        "nothing to import; specify a file with --sites, --configurations or --live-data"));
  }
  absl::StatusOr<Connection> connection = Connection::Open(options.connection);
  if (!connection.ok()) return fail(connection.status());
  absl::StatusOr<SiteIndex> sites = SiteIndex::Load(*connection);
  if (!sites.ok()) return fail(sites.status());

  bool good = true;
  Progress progress(err, options.terminal, absl::Now());
  Import import(*connection, *std::move(sites), progress);
  for (Part& part : parts) {
    // After the sites are imported, because the site may be one of them.
    if (&part == &parts[1] && !options.site.empty()) {
      absl::Status restricted = import.RestrictTo(options.site);
      if (!restricted.ok()) return fail(restricted);
    }
    if (part.file == nullptr) continue;
    const absl::Time start = absl::Now();
    progress.Restart(start);
    Counts counts;
    const absl::Status status = (import.*part.run)(*part.file, counts);
    progress.Clear();
    out << Summary(part, counts, absl::Now() - start) << std::endl;
    if (!status.ok()) {
      fail(status);
      err << "The import was interrupted. Run it again to continue." << std::endl;
      return 1;
    }
    if (!part.file->warning().empty()) err << part.file->warning() << std::endl;
    good = good && counts.bad == 0;
  }
  return good ? 0 : 1;
}

}  // namespace energysites
