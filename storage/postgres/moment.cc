#include "storage/postgres/moment.h"

#include <limits>

#include "absl/strings/str_format.h"
#include "absl/time/civil_time.h"
#include "absl/time/time.h"

namespace energysites::storage {
namespace {

constexpr int64_t kMicrosecondsPerSecond = 1000000;
constexpr int kNanosPerMicrosecond = 1000;

// From 1970 to 2000, in microseconds.
constexpr int64_t kPostgresEpoch = 946684800'000000;

}  // namespace

Moment Moment::From(const google::protobuf::Timestamp& stamp) {
  return FromUnixMicroseconds(stamp.seconds() * kMicrosecondsPerSecond +
                              stamp.nanos() / kNanosPerMicrosecond);
}

Moment Moment::AtOrAfter(const google::protobuf::Timestamp& stamp) {
  Moment moment = From(stamp);
  if (stamp.nanos() % kNanosPerMicrosecond != 0) ++moment.microseconds;
  return moment;
}

Moment Moment::FromUnixMicroseconds(int64_t microseconds) {
  return {microseconds - kPostgresEpoch};
}

Moment Moment::BeforeAll() { return {std::numeric_limits<int64_t>::min()}; }

Moment Moment::AfterAll() { return {std::numeric_limits<int64_t>::max()}; }

int64_t Moment::UnixMicroseconds() const { return microseconds + kPostgresEpoch; }

google::protobuf::Timestamp Moment::ToTimestamp() const {
  return TimestampFromMicroseconds(UnixMicroseconds());
}

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

}  // namespace energysites::storage
