#include "storage/postgres/rows.h"

#include "absl/strings/match.h"
#include "absl/strings/str_format.h"
#include "absl/time/civil_time.h"
#include "absl/time/time.h"

namespace energysites::storage {
namespace {

constexpr int64_t kMicrosecondsPerSecond = 1000000;
constexpr int kNanosPerMicrosecond = 1000;

}  // namespace

std::string SqlFromTimestamp(const google::protobuf::Timestamp& stamp) {
  const absl::CivilSecond second =
      absl::ToCivilSecond(absl::FromUnixSeconds(stamp.seconds()), absl::UTCTimeZone());
  return absl::StrFormat("%04d-%02d-%02dT%02d:%02d:%02d.%06dZ", second.year(), second.month(),
                         second.day(), second.hour(), second.minute(), second.second(),
                         stamp.nanos() / kNanosPerMicrosecond);
}

google::protobuf::Timestamp CutToMicroseconds(google::protobuf::Timestamp stamp) {
  stamp.set_nanos(stamp.nanos() / kNanosPerMicrosecond * kNanosPerMicrosecond);
  return stamp;
}

google::protobuf::Timestamp TimestampFromMicroseconds(int64_t microseconds) {
  int64_t seconds = microseconds / kMicrosecondsPerSecond;
  int64_t rest = microseconds % kMicrosecondsPerSecond;
  if (rest < 0) {
    rest += kMicrosecondsPerSecond;
    --seconds;
  }
  google::protobuf::Timestamp stamp;
  stamp.set_seconds(seconds);
  stamp.set_nanos(static_cast<int32_t>(rest) * kNanosPerMicrosecond);
  return stamp;
}

google::protobuf::Timestamp TimestampFromField(const pqxx::field& field) {
  return TimestampFromMicroseconds(field.as<int64_t>());
}

std::string EtagParameter(const std::string& etag) {
  return absl::StrContains(etag, '\0') ? "no etag" : etag;
}

}  // namespace energysites::storage
