#include "clients/cli/rows.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "clients/cli/csv.h"
#include "clients/cli/field_text.h"
#include "energysites/v1/live_data.pb.h"

namespace energysites {
namespace {

// Returns null for `site_name`, which is not a field.
const google::protobuf::FieldDescriptor* FieldOf(const CsvColumn& column,
                                                 const google::protobuf::Message& message) {
  return message.GetDescriptor()->FindFieldByName(std::string(column.name));
}

}  // namespace

const std::vector<CsvColumn>& SiteColumns() {
  static const auto& columns = *new std::vector<CsvColumn>{{"name"}, {"location"}};
  return columns;
}

const std::vector<CsvColumn>& ConfigurationColumns() {
  static const auto& columns =
      *new std::vector<CsvColumn>{{"site_name"},
                                  {"battery_vendor"},
                                  {"battery_capacity_kwh"},
                                  {"battery_max_power_kw"},
                                  {"production_pv_units"},
                                  {"production_bio_units"},
                                  {"production_cro_units"},
                                  {"production_pv_kwp", /*required=*/false},
                                  {"production_cro_kwp", /*required=*/false}};
  return columns;
}

const std::vector<CsvColumn>& LiveDataColumns() {
  static const auto& columns =
      *new std::vector<CsvColumn>{{"site_name"},        {"dt_stamp"},        {"soc"},
                                  {"load_kwh"},         {"net_load_kwh"},    {"pv_notification"},
                                  {"bio_notification"}, {"cro_notification"}};
  return columns;
}

const std::vector<CsvColumn>& LiveDataOrDownloadColumns() {
  static const auto& columns = *new std::vector<CsvColumn>([] {
    std::vector<CsvColumn> all = LiveDataColumns();
    all[kSiteNameColumn].kind = CsvColumn::kNotDownload;
    all.push_back({"site_id", /*required=*/true, CsvColumn::kDownload});
    // Ignored by an import: the service sets new values.
    all.push_back({"id", /*required=*/false, CsvColumn::kDownload});
    all.push_back({"create_time", /*required=*/false, CsvColumn::kDownload});
    for (CsvColumn& column : all) {
      const auto* const field = FieldOf(column, v1::LiveDataEntry::default_instance());
      // The only message type is Timestamp.
      column.detects_truncation =
          field != nullptr &&
          (field->cpp_type() == google::protobuf::FieldDescriptor::CPPTYPE_BOOL ||
           field->cpp_type() == google::protobuf::FieldDescriptor::CPPTYPE_MESSAGE);
    }
    return all;
  }());
  return columns;
}

std::vector<Fault> ReadRow(const CsvRow& row, const std::vector<CsvColumn>& columns,
                           absl::string_view resource, google::protobuf::Message& message) {
  if (!row.status.ok()) return {{row.line, std::string(row.status.message())}};
  std::vector<Fault> faults;
  for (size_t i = 0; i < columns.size(); ++i) {
    const google::protobuf::FieldDescriptor* field = FieldOf(columns[i], message);
    if (field == nullptr) continue;
    const absl::Status status = SetFromText(*field, row.fields[i], message);
    if (!status.ok()) {
      faults.push_back(
          {row.line, absl::StrCat(resource, ".", columns[i].name, ": ", status.message())});
    }
  }
  return faults;
}

std::string WriteRow(const google::protobuf::Message& message,
                     const std::vector<CsvColumn>& columns, absl::string_view site_name) {
  return absl::StrJoin(columns, ",", [&](std::string* line, const CsvColumn& column) {
    const google::protobuf::FieldDescriptor* field = FieldOf(column, message);
    line->append(field == nullptr ? CsvField(site_name) : CsvField(FieldToText(*field, message)));
  });
}

std::string WriteHeader(const std::vector<CsvColumn>& columns) {
  return absl::StrJoin(columns, ",", [](std::string* line, const CsvColumn& column) {
    line->append(column.name.data(), column.name.size());
  });
}

}  // namespace energysites
