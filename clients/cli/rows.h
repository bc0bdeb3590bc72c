// The columns of the three CSV files, and their rows as messages. A column bears the name of the
// field that it fills; `site_name` stands for `site_id`.
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

// LiveDataColumns and after them those that only DownloadLiveData writes. It has site_id in place
// of site_name.
const std::vector<CsvColumn>& LiveDataOrDownloadColumns();
constexpr size_t kSiteNameColumn = 0;
constexpr size_t kSiteIdColumn = 8;

// Fills `message`, a `resource`, from `row`, except for `site_name`. Returns what could not be
// read, column by column.
std::vector<Fault> ReadRow(const CsvRow& row, const std::vector<CsvColumn>& columns,
                           absl::string_view resource, google::protobuf::Message& message);

// `message` as a line that ReadRow reads back.
std::string WriteRow(const google::protobuf::Message& message,
                     const std::vector<CsvColumn>& columns, absl::string_view site_name);

// The header line.
std::string WriteHeader(const std::vector<CsvColumn>& columns);

}  // namespace energysites
