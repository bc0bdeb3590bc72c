// The handlers of ExportLiveData and DownloadLiveData.
#ifndef SERVICES_LIVE_DATA_EXPORT_STREAM_H_
#define SERVICES_LIVE_DATA_EXPORT_STREAM_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "energysites/v1/live_data.pb.h"
#include "services/rpc/server_stream.h"
#include "storage/postgres/session.h"

namespace energysites {

// Handlers for ServeStream. Return the errors of storage::ExportLiveData, and INVALID_ARGUMENT if
// `read_mask` has an unknown field (`field_mask.known`).
absl::Status ExportEntries(storage::Session& session, const v1::ExportLiveDataRequest& request,
                           StreamWriter& writer);
absl::Status DownloadEntries(storage::Session& session, const v1::DownloadLiveDataRequest& request,
                             StreamWriter& writer);

// Append a row (see storage::TakeRow) with these fields to `bytes`: as an element of
// ExportLiveDataResponse.live_data_entries in protobuf wire format, as a line of CSV, or as a line
// of JSON. No message object is created, because that would dominate the cost of an export.
void AppendWireFormat(const std::vector<int>& fields, absl::string_view row, std::string& bytes);
void AppendCsv(const std::vector<int>& fields, absl::string_view row, std::string& bytes);
void AppendJson(const std::vector<int>& fields, absl::string_view row, std::string& bytes);

}  // namespace energysites

#endif  // SERVICES_LIVE_DATA_EXPORT_STREAM_H_
