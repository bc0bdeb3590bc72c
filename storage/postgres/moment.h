// Points in time as the database, messages and SQL text hold them.
#ifndef STORAGE_POSTGRES_MOMENT_H_
#define STORAGE_POSTGRES_MOMENT_H_

#include <cstdint>
#include <string>

#include "google/protobuf/timestamp.pb.h"

namespace energysites::storage {

// A timestamptz as the database keeps it, the type of a parameter or of a column.
struct Moment {
  // Microseconds since 2000-01-01T00:00:00Z.
  int64_t microseconds = 0;

  // What is finer than a microsecond is cut off.
  static Moment From(const google::protobuf::Timestamp& stamp);
  // The first at or after `stamp`: a bound between two microseconds is rounded up, because cutting
  // it off would move it to before an entry.
  static Moment AtOrAfter(const google::protobuf::Timestamp& stamp);
  static Moment FromUnixMicroseconds(int64_t microseconds);
  static Moment BeforeAll();  // -infinity
  static Moment AfterAll();   // infinity
  int64_t UnixMicroseconds() const;
  google::protobuf::Timestamp ToTimestamp() const;
};

// `stamp` as ISO text in UTC to the microsecond, what is finer cut off. `stamp` is valid, in the
// years 1 to 9999.
std::string SqlFromTimestamp(const google::protobuf::Timestamp& stamp);

// `stamp` as the database keeps it.
google::protobuf::Timestamp CutToMicroseconds(google::protobuf::Timestamp stamp);

// `microseconds` since 1970.
google::protobuf::Timestamp TimestampFromMicroseconds(int64_t microseconds);

}  // namespace energysites::storage

#endif  // STORAGE_POSTGRES_MOMENT_H_
