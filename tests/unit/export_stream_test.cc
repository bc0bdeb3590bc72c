// The hand-written wire format is equal to that of protobuf.
#include "services/live_data/export_stream.h"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "storage/postgres/binary_format.h"
#include "tests/support/matchers.h"

namespace energysites {
namespace {

using google::protobuf::FieldDescriptor;
using storage::AppendBinary;
using testing_support::EqualsProto;
using testing_support::Proto;
using v1::LiveDataEntry;

template <class Value>
void AppendColumn(const Value& value, std::string& row) {
  AppendBinary(row, static_cast<int32_t>(sizeof(value)));
  AppendBinary(row, value);
}

// The row that the database returns for these fields of `entry`.
std::string RowOf(const LiveDataEntry& entry, const std::vector<int>& fields) {
  const auto& reflection = *entry.GetReflection();
  std::string row;
  for (const int number : fields) {
    const FieldDescriptor* field = entry.GetDescriptor()->FindFieldByNumber(number);
    switch (field->cpp_type()) {
      case FieldDescriptor::CPPTYPE_INT64:
        AppendColumn(reflection.GetInt64(entry, field), row);
        break;
      case FieldDescriptor::CPPTYPE_DOUBLE:
        AppendColumn(reflection.GetDouble(entry, field), row);
        break;
      case FieldDescriptor::CPPTYPE_BOOL:
        AppendColumn(reflection.GetBool(entry, field), row);
        break;
      case FieldDescriptor::CPPTYPE_MESSAGE:
        AppendColumn(storage::Moment::From(dynamic_cast<const google::protobuf::Timestamp&>(
                         reflection.GetMessage(entry, field))),
                     row);
        break;
      default:
        ADD_FAILURE() << "no column for " << field->full_name();
    }
  }
  return row;
}

// All sets of fields except the empty one.
std::vector<std::vector<int>> SetsOfFields() {
  const int count = LiveDataEntry::descriptor()->field_count();
  std::vector<std::vector<int>> sets;
  for (int bits = 1; bits < 1 << count; ++bits) {
    std::vector<int>& fields = sets.emplace_back();
    for (int i = 0; i < count; ++i) {
      if ((bits & 1 << i) != 0) fields.push_back(LiveDataEntry::descriptor()->field(i)->number());
    }
  }
  return sets;
}

LiveDataEntry Only(LiveDataEntry entry, const std::vector<int>& fields) {
  for (int i = 0; i < entry.GetDescriptor()->field_count(); ++i) {
    const FieldDescriptor* field = entry.GetDescriptor()->field(i);
    if (std::count(fields.begin(), fields.end(), field->number()) == 0) {
      entry.GetReflection()->ClearField(&entry, field);
    }
  }
  return entry;
}

// All fields are set, some to zero.
std::vector<LiveDataEntry> Entries() {
  std::vector<LiveDataEntry> entries = {
      Proto<LiveDataEntry>("id: 1708553108633830841 site_id: 17"
                           " dt_stamp { seconds: 1714564800 nanos: 123456000 }"
                           " soc: 55.5 load_kwh: 0.31 net_load_kwh: 1e-9 pv_notification: true"
                           " bio_notification: false cro_notification: true"
                           " create_time { seconds: 1714564801 }"),
      Proto<LiveDataEntry>("id: 0 site_id: 0 dt_stamp {} soc: 0 load_kwh: -0.0 net_load_kwh: 0"
                           " pv_notification: false bio_notification: false"
                           " cro_notification: false create_time { nanos: 1000 }"),
      Proto<LiveDataEntry>("id: -1 site_id: -9223372036854775808"
                           " dt_stamp { seconds: -1 nanos: 999999000 } soc: -1 load_kwh: -1e300"
                           " net_load_kwh: -5e-324 pv_notification: true bio_notification: true"
                           " cro_notification: true create_time { seconds: -62135596800 }"),
      Proto<LiveDataEntry>("id: 9223372036854775807 site_id: 9223372036854775807"
                           " dt_stamp { seconds: -62135596800 nanos: 999999000 }"
                           " pv_notification: true bio_notification: true cro_notification: true"
                           " create_time { seconds: 253402300799 nanos: 999999000 }"),
  };
  entries.back().set_soc(std::numeric_limits<double>::max());
  entries.back().set_load_kwh(std::numeric_limits<double>::min());
  entries.back().set_net_load_kwh(std::numeric_limits<double>::infinity());
  return entries;
}

TEST(AppendWireFormatTest, IsReadAsTheSameMessageWhateverFieldsAreAskedFor) {
  for (const std::vector<int>& fields : SetsOfFields()) {
    v1::ExportLiveDataResponse expected;
    std::string bytes;
    for (const LiveDataEntry& entry : Entries()) {
      *expected.add_live_data_entries() = Only(entry, fields);
      AppendWireFormat(fields, RowOf(entry, fields), bytes);
    }
    v1::ExportLiveDataResponse read;
    ASSERT_TRUE(read.ParseFromString(bytes));
    ASSERT_THAT(read, EqualsProto(expected));
  }
}

TEST(AppendWireFormatTest, IsWhatProtobufWrites) {
  const std::vector<int> all = SetsOfFields().back();
  for (const LiveDataEntry& entry : Entries()) {
    if (entry.id() == 0) continue;  // Protobuf omits a zero; the export writes it.
    v1::ExportLiveDataResponse message;
    *message.add_live_data_entries() = entry;
    std::string bytes;
    AppendWireFormat(all, RowOf(entry, all), bytes);
    EXPECT_EQ(bytes, message.SerializeAsString()) << entry.ShortDebugString();
  }
}

}  // namespace
}  // namespace energysites
