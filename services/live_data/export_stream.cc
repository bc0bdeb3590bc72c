#include "services/live_data/export_stream.h"

#include <charconv>
#include <cstring>
#include <memory>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"
#include "google/api/httpbody.pb.h"
#include "google/protobuf/io/coded_stream.h"
#include "google/protobuf/wire_format_lite.h"
#include "services/errors/errors.h"
#include "storage/live_data/live_data_export.h"
#include "storage/postgres/moment.h"

namespace energysites {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Timestamp;
using google::protobuf::internal::WireFormatLite;
using google::protobuf::io::CodedOutputStream;
using storage::Moment;
using v1::LiveDataEntry;

// Large enough that the overhead per message is small.
constexpr size_t kAnswerBytes = 512 << 10;
constexpr size_t kMaxRowBytes = 1024;

// Reads the columns of a row in order.
class Columns {
 public:
  explicit Columns(absl::string_view row) : rest_(row) {}

  int64_t Int64() { return static_cast<int64_t>(Bits()); }
  double Double() {
    const uint64_t bits = Bits();
    double value;
    std::memcpy(&value, &bits, sizeof(value));
    return value;
  }
  bool Bool() {
    const bool value = rest_[kLengthBytes] != '\0';
    rest_.remove_prefix(kLengthBytes + 1);
    return value;
  }
  Timestamp Stamp() { return Moment{Int64()}.ToTimestamp(); }

 private:
  // Skipped: the length of every column is known, and no column is null.
  static constexpr size_t kLengthBytes = 4;

  uint64_t Bits() {
    uint64_t value = 0;
    for (size_t i = 0; i < sizeof(value); ++i) {
      value = value << 8 | static_cast<unsigned char>(rest_[kLengthBytes + i]);
    }
    rest_.remove_prefix(kLengthBytes + sizeof(value));
    return value;
  }

  absl::string_view rest_;
};

uint8_t* WriteTag(int field, WireFormatLite::WireType type, uint8_t* target) {
  return CodedOutputStream::WriteVarint32ToArray(WireFormatLite::MakeTag(field, type), target);
}

uint8_t* WriteStamp(int field, const Timestamp& stamp, uint8_t* target) {
  target = WriteTag(field, WireFormatLite::WIRETYPE_LENGTH_DELIMITED, target);
  uint8_t* const length = target++;
  if (stamp.seconds() != 0) {
    target =
        WireFormatLite::WriteInt64ToArray(Timestamp::kSecondsFieldNumber, stamp.seconds(), target);
  }
  if (stamp.nanos() != 0) {
    target = WireFormatLite::WriteInt32ToArray(Timestamp::kNanosFieldNumber, stamp.nanos(), target);
  }
  *length = static_cast<uint8_t>(target - length - 1);
  return target;
}

FieldDescriptor::CppType TypeOf(int field) {
  return LiveDataEntry::descriptor()->FindFieldByNumber(field)->cpp_type();
}

// Appends `2016-08-01T07:00:00Z`, with six digits of fraction if it is not zero.
void AppendStamp(const Timestamp& stamp, std::string& bytes) {
  const std::string text = storage::SqlFromTimestamp(stamp);
  constexpr absl::string_view kNoFraction = ".000000Z";
  absl::string_view shorter = text;
  if (absl::ConsumeSuffix(&shorter, kNoFraction)) {
    absl::StrAppend(&bytes, shorter, "Z");
  } else {
    bytes += text;
  }
}

// Appends the shortest text that parses to the same double.
void AppendDouble(double value, std::string& bytes) {
  char digits[32];
  const auto end = std::to_chars(digits, digits + sizeof(digits), value).ptr;
  bytes.append(digits, end);
}

// Appends the value of a column. Encloses values that are strings in JSON in `quote`.
void AppendText(int field, const char* quote, Columns& columns, std::string& bytes) {
  switch (TypeOf(field)) {
    case FieldDescriptor::CPPTYPE_INT64:
      return absl::StrAppend(&bytes, quote, columns.Int64(), quote);
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return AppendDouble(columns.Double(), bytes);
    case FieldDescriptor::CPPTYPE_BOOL:
      return absl::StrAppend(&bytes, columns.Bool() ? "true" : "false");
    default:
      bytes += quote;
      AppendStamp(columns.Stamp(), bytes);
      bytes += quote;
  }
}

std::vector<std::string> NamesOf(const std::vector<int>& fields) {
  std::vector<std::string> names;
  for (const int field : fields) {
    names.push_back(LiveDataEntry::descriptor()->FindFieldByNumber(field)->name());
  }
  return names;
}

template <class Request>
absl::StatusOr<storage::LiveDataRange> RangeOf(const Request& request) {
  storage::LiveDataRange range;
  range.site_ids.assign(request.site_ids().begin(), request.site_ids().end());
  if (request.has_start_time()) range.begin = Moment::AtOrAfter(request.start_time());
  if (request.has_end_time()) range.end = Moment::AtOrAfter(request.end_time());
  std::set<int> fields;
  for (const std::string& path : request.read_mask().paths()) {
    const FieldDescriptor* field = LiveDataEntry::descriptor()->FindFieldByName(path);
    if (field == nullptr) {
      return InvalidRequest(
          {{"read_mask", "field_mask.known", "must name fields of LiveDataEntry only"}});
    }
    fields.insert(field->number());
  }
  if (fields.empty()) {
    for (int i = 0; i < LiveDataEntry::descriptor()->field_count(); ++i) {
      fields.insert(LiveDataEntry::descriptor()->field(i)->number());
    }
  }
  range.fields.assign(fields.begin(), fields.end());
  return range;
}

// Returns a buffer that owns `bytes`, without a copy.
grpc::ByteBuffer BufferOf(std::string bytes) {
  auto* const owned = new std::string(std::move(bytes));
  const grpc::Slice slice(
      owned->data(), owned->size(), [](void* string) { delete static_cast<std::string*>(string); },
      owned);
  return grpc::ByteBuffer(&slice, 1);
}

absl::Status WriteBody(const std::string& content_type, std::string data, StreamWriter& writer) {
  google::api::HttpBody body;
  body.set_content_type(content_type);
  body.set_data(std::move(data));
  return writer.Write(BufferOf(body.SerializeAsString()));
}

}  // namespace

void AppendWireFormat(const std::vector<int>& fields, absl::string_view row, std::string& bytes) {
  // An entry is shorter than 128 bytes, so its length is encoded in one byte.
  uint8_t buffer[kMaxRowBytes];
  uint8_t* target = WriteTag(v1::ExportLiveDataResponse::kLiveDataEntriesFieldNumber,
                             WireFormatLite::WIRETYPE_LENGTH_DELIMITED, buffer);
  uint8_t* const length = target++;
  Columns columns(row);
  for (const int field : fields) {
    switch (field) {
      case LiveDataEntry::kIdFieldNumber:
      case LiveDataEntry::kSiteIdFieldNumber:
        target = WireFormatLite::WriteInt64ToArray(field, columns.Int64(), target);
        break;
      case LiveDataEntry::kDtStampFieldNumber:
      case LiveDataEntry::kCreateTimeFieldNumber:
        target = WriteStamp(field, columns.Stamp(), target);
        break;
      case LiveDataEntry::kSocFieldNumber:
      case LiveDataEntry::kLoadKwhFieldNumber:
      case LiveDataEntry::kNetLoadKwhFieldNumber:
        target = WireFormatLite::WriteDoubleToArray(field, columns.Double(), target);
        break;
      default:
        target = WireFormatLite::WriteBoolToArray(field, columns.Bool(), target);
    }
  }
  *length = static_cast<uint8_t>(target - length - 1);
  bytes.append(reinterpret_cast<const char*>(buffer), target - buffer);
}

void AppendCsv(const std::vector<int>& fields, absl::string_view row, std::string& bytes) {
  Columns columns(row);
  for (const int field : fields) {
    AppendText(field, "", columns, bytes);
    bytes += ',';
  }
  bytes.back() = '\n';
}

void AppendJson(const std::vector<int>& fields, absl::string_view row, std::string& bytes) {
  Columns columns(row);
  bytes += '{';
  for (const int field : fields) {
    absl::StrAppend(&bytes, "\"", LiveDataEntry::descriptor()->FindFieldByNumber(field)->name(),
                    "\":");
    AppendText(field, "\"", columns, bytes);
    bytes += ',';
  }
  bytes.back() = '}';
  bytes += '\n';
}

absl::Status ExportEntries(storage::Session& session, const v1::ExportLiveDataRequest& request,
                           StreamWriter& writer) {
  const absl::StatusOr<storage::LiveDataRange> range = RangeOf(request);
  if (!range.ok()) return range.status();
  std::string answer;
  int32_t entries = 0;
  const auto send = [&]() -> absl::Status {
    uint8_t count[16];
    const uint8_t* const end = WireFormatLite::WriteInt32ToArray(
        v1::ExportLiveDataResponse::kEntryCountFieldNumber, entries, count);
    answer.append(reinterpret_cast<const char*>(count), end - count);
    entries = 0;
    return writer.Write(BufferOf(std::exchange(answer, std::string())));
  };
  const absl::Status read =
      storage::ExportLiveData(session, *range, [&](absl::string_view row) -> absl::Status {
        if (answer.empty()) answer.reserve(kAnswerBytes + kMaxRowBytes);
        AppendWireFormat(range->fields, row, answer);
        ++entries;
        return answer.size() < kAnswerBytes ? absl::OkStatus() : send();
      });
  if (!read.ok() || entries == 0) return read;
  return send();
}

absl::Status DownloadEntries(storage::Session& session, const v1::DownloadLiveDataRequest& request,
                             StreamWriter& writer) {
  const absl::StatusOr<storage::LiveDataRange> range = RangeOf(request);
  if (!range.ok()) return range.status();
  const bool csv = request.format() != "ndjson";
  const std::string content_type = csv ? "text/csv; charset=utf-8" : "application/x-ndjson";
  const auto append = csv ? AppendCsv : AppendJson;
  std::string text;
  if (csv) absl::StrAppend(&text, absl::StrJoin(NamesOf(range->fields), ","), "\n");
  int64_t rows = 0;
  bool begun = false;
  const auto send = [&] {
    // Set only after the sites are known to exist, because an error must not be saved as a file.
    if (!std::exchange(begun, true)) {
      writer.AddHeader("content-disposition", absl::StrCat("attachment; filename=\"live-data.",
                                                           csv ? "csv" : "ndjson", "\""));
    }
    return WriteBody(content_type, std::exchange(text, std::string()), writer);
  };
  const absl::Status read =
      storage::ExportLiveData(session, *range, [&](absl::string_view row) -> absl::Status {
        append(range->fields, row, text);
        ++rows;
        return text.size() < kAnswerBytes ? absl::OkStatus() : send();
      });
  if (!read.ok()) return read;
  if (csv) {
    absl::StrAppend(&text, "# end ", rows, " rows\n");
  } else {
    absl::StrAppend(&text, "{\"end\":{\"rows\":", rows, "}}\n");
  }
  return send();
}

}  // namespace energysites
