// The columns of the three CSV files and the conversion of rows to messages. A column has the name
// of its field; `site_name` is used in place of the field `site_id`.
#pragma once

#include <google/protobuf/message.h>

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "clients/cli/csv_file.h"
#include "clients/cli/report.h"

namespace energysites {

const std::vector<CsvColumn>& SiteColumns();
const std::vector<CsvColumn>& ConfigurationColumns();
const std::vector<CsvColumn>& LiveDataColumns();

// LiveDataColumns, followed by the columns that only DownloadLiveData writes. A download has
// site_id instead of site_name.
const std::vector<CsvColumn>& LiveDataOrDownloadColumns();
constexpr size_t kSiteNameColumn = 0;
constexpr size_t kSiteIdColumn = 8;

// Sets the fields of `message` from `row`, except `site_name`. Returns one error for each column
// that cannot be parsed; `resource` is the first part of its path.
std::vector<Fault> ReadRow(const CsvRow& row, const std::vector<CsvColumn>& columns,
                           absl::string_view resource, google::protobuf::Message& message);

// Returns `message` as a line that ReadRow parses.
std::string WriteRow(const google::protobuf::Message& message,
                     const std::vector<CsvColumn>& columns, absl::string_view site_name);

// The header line.
std::string WriteHeader(const std::vector<CsvColumn>& columns);

}  // namespace energysites
