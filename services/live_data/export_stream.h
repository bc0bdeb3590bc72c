// ExportLiveData and DownloadLiveData: rows from the database as messages and as files.
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

// Handlers for ServeStream. Return what storage::ExportLiveData does, and INVALID_ARGUMENT if
// `read_mask` names what is no field of LiveDataEntry (`field_mask.known`).
absl::Status ExportEntries(storage::Session& session, const v1::ExportLiveDataRequest& request,
                           StreamWriter& writer);
absl::Status DownloadEntries(storage::Session& session, const v1::DownloadLiveDataRequest& request,
                             StreamWriter& writer);

// The parts of them that turn a row (see storage::TakeRow) of these fields into bytes appended to
// `bytes`: one element of ExportLiveDataResponse.live_data_entries in protobuf's wire format, a
// line of CSV, a line of JSON. No message is made of it on the way, which would cost more than the
// rest.
void AppendWireFormat(const std::vector<int>& fields, absl::string_view row, std::string& bytes);
void AppendCsv(const std::vector<int>& fields, absl::string_view row, std::string& bytes);
void AppendJson(const std::vector<int>& fields, absl::string_view row, std::string& bytes);

}  // namespace energysites

#endif  // SERVICES_LIVE_DATA_EXPORT_STREAM_H_
