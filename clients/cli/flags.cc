#include "clients/cli/flags.h"

#include <unistd.h>

#include <string>

#include "absl/flags/flag.h"

ABSL_FLAG(std::string, target, "127.0.0.1:50051", "import, export: host:port of the service");
ABSL_FLAG(std::string, tls_ca, "",
          "import, export: PEM file with the CA certificate that verifies the service; empty = no "
          "TLS");
ABSL_FLAG(std::string, tls_client_cert, "",
          "import, export: PEM file with the client certificate (mTLS); empty = none");
ABSL_FLAG(std::string, tls_client_key, "",
          "import, export: PEM file with the private key of --tls_client_cert");
ABSL_FLAG(std::string, token_file, "",
          "import, export: file with the access token for the gateway; requires --tls_ca");
ABSL_FLAG(std::string, sites, "",
          "import: CSV file (plain or gzip) with the columns name,location. If a site with the "
          "name exists, it is used and not created again");
ABSL_FLAG(std::string, configurations, "",
          "import: CSV file (plain or gzip) with the columns "
          "site_name,battery_vendor,battery_capacity_kwh,battery_max_power_kw,"
          "production_pv_units,production_bio_units,production_cro_units and optionally "
          "production_pv_kwp,production_cro_kwp");
ABSL_FLAG(std::string, live_data, "",
          "import: CSV file (plain or gzip) with the columns "
          "site_name,dt_stamp,soc,load_kwh,net_load_kwh,pv_notification,bio_notification,"
          "cro_notification, or a complete CSV download. An import may be repeated: a row is "
          "stored unless an equal entry (the same values in all fields) is stored already. A row "
          "with changed values is stored as a further entry. If a file is not in the order of "
          "time and has equal rows far apart, a repeated import may treat them as one row");
ABSL_FLAG(std::string, site, "",
          "export: name of the site. import: rows of configurations and live data that belong to "
          "another site are errors; empty = all sites");
ABSL_FLAG(std::string, site_id, "", "export, import: id of the site, instead of --site");
ABSL_FLAG(std::string, start_time, "",
          "export: entries at or after this time, such as 2016-08-01T07:00:00Z; empty = all");
ABSL_FLAG(std::string, end_time, "", "export: entries before this time; empty = all");
ABSL_FLAG(std::string, output, "",
          "export: output file. An existing file is replaced only by a complete export; empty = "
          "standard output");

namespace energysites {
namespace {

ConnectionOptions ConnectionFromFlags() {
  ConnectionOptions options;
  options.target = absl::GetFlag(FLAGS_target);
  options.tls_ca = absl::GetFlag(FLAGS_tls_ca);
  options.tls_client_cert = absl::GetFlag(FLAGS_tls_client_cert);
  options.tls_client_key = absl::GetFlag(FLAGS_tls_client_key);
  options.token_file = absl::GetFlag(FLAGS_token_file);
  return options;
}

SiteChoice SiteFromFlags() { return {absl::GetFlag(FLAGS_site), absl::GetFlag(FLAGS_site_id)}; }

}  // namespace

ImportOptions ImportOptionsFromFlags() {
  ImportOptions options;
  options.connection = ConnectionFromFlags();
  options.sites = absl::GetFlag(FLAGS_sites);
  options.configurations = absl::GetFlag(FLAGS_configurations);
  options.live_data = absl::GetFlag(FLAGS_live_data);
  options.site = SiteFromFlags();
  options.terminal = isatty(STDERR_FILENO) != 0;
  return options;
}

ExportOptions ExportOptionsFromFlags() {
  ExportOptions options;
  options.connection = ConnectionFromFlags();
  options.site = SiteFromFlags();
  options.start_time = absl::GetFlag(FLAGS_start_time);
  options.end_time = absl::GetFlag(FLAGS_end_time);
  options.output = absl::GetFlag(FLAGS_output);
  return options;
}

}  // namespace energysites
