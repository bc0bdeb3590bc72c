#include "storage/configurations/configuration_columns.h"

#include <iterator>
#include <stdexcept>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace energysites::storage {
namespace {

using google::protobuf::FieldDescriptor;
using v1::Configuration;

// The fields that callers set, each with a column of the same name: the one place of storage,
// beside the migration, to change for a new field.
constexpr const char* kSettable[] = {
    "battery_vendor",       "battery_capacity_kwh", "battery_max_power_kw", "production_pv_units",
    "production_bio_units", "production_cro_units", "production_pv_kwp",    "production_cro_kwp",
};

// The other columns, which come first in a row.
constexpr char kOtherColumns[] = "id, site_id, etag, create_time, update_time";
constexpr int kOtherColumnCount = 5;

std::vector<const FieldDescriptor*> FindSettableFields() {
  std::vector<const FieldDescriptor*> fields;
  for (const char* name : kSettable) {
    fields.push_back(Configuration::descriptor()->FindFieldByName(name));
  }
  return fields;
}

const std::vector<const FieldDescriptor*>& SettableFields() {
  static const auto& fields = *new std::vector<const FieldDescriptor*>(FindSettableFields());
  return fields;
}

[[noreturn]] void ThrowUnknownType(const FieldDescriptor& field) {
  throw std::logic_error(absl::StrCat("no column type is known for ", field.full_name()));
}

Parameter ParameterOf(const Configuration& configuration, const FieldDescriptor& field) {
  const auto& reflection = *Configuration::GetReflection();
  if (!reflection.HasField(configuration, &field)) return std::nullopt;
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT32:
      return reflection.GetInt32(configuration, &field);
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return reflection.GetDouble(configuration, &field);
    case FieldDescriptor::CPPTYPE_STRING:
      return reflection.GetString(configuration, &field);
    default:
      ThrowUnknownType(field);
  }
}

void ReadField(const Rows& rows, int row, int column, const FieldDescriptor& field,
               Configuration& configuration) {
  if (rows.IsNull(row, column)) return;
  const auto& reflection = *Configuration::GetReflection();
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT32:
      return reflection.SetInt32(&configuration, &field, rows.Int32(row, column));
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return reflection.SetDouble(&configuration, &field, rows.Double(row, column));
    case FieldDescriptor::CPPTYPE_STRING:
      return reflection.SetString(&configuration, &field, rows.String(row, column));
    default:
      ThrowUnknownType(field);
  }
}

}  // namespace

std::string ConfigurationColumns() { return absl::StrCat(kOtherColumns, ", ", SettableColumns()); }

Configuration ConfigurationFromRow(const Rows& rows, int row) {
  Configuration configuration;
  configuration.set_id(rows.Int64(row, 0));
  configuration.set_site_id(rows.Int64(row, 1));
  configuration.set_etag(absl::StrCat(rows.Int64(row, 2)));
  *configuration.mutable_create_time() = rows.Stamp(row, 3).ToTimestamp();
  *configuration.mutable_update_time() = rows.Stamp(row, 4).ToTimestamp();
  int column = kOtherColumnCount;
  for (const FieldDescriptor* field : SettableFields()) {
    ReadField(rows, row, column++, *field, configuration);
  }
  return configuration;
}

int ConfigurationColumnCount() { return kOtherColumnCount + std::size(kSettable); }

std::string SettableColumns() { return absl::StrJoin(kSettable, ", "); }

void AppendSettableFields(const Configuration& configuration, Parameters& parameters) {
  for (const FieldDescriptor* field : SettableFields()) {
    parameters.push_back(ParameterOf(configuration, *field));
  }
}

std::string SettablePlaceholders(int first) {
  return absl::StrJoin(kSettable, ", ", [number = first](std::string* list, const char*) mutable {
    absl::StrAppend(list, "$", number++);
  });
}

std::string SettableAssignments(int mask, int first) {
  return absl::StrJoin(kSettable, ", ",
                       [mask, number = first](std::string* list, const char* column) mutable {
                         absl::StrAppend(list, column, " = CASE WHEN '", column, "' = ANY($", mask,
                                         "::text[]) THEN $", number++, " ELSE ", column, " END");
                       });
}

}  // namespace energysites::storage
