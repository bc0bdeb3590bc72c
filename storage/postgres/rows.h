// What rows and messages have in common: moments and pages.
#ifndef STORAGE_POSTGRES_ROWS_H_
#define STORAGE_POSTGRES_ROWS_H_

#include <cstdint>
#include <pqxx/pqxx>
#include <string>
#include <vector>

#include "google/protobuf/timestamp.pb.h"

namespace energysites::storage {

// A moment as SQL takes it: ISO text in UTC to the microsecond, what is finer cut off. `stamp` is
// valid, in the years 1 to 9999.
std::string SqlFromTimestamp(const google::protobuf::Timestamp& stamp);

// `stamp` as the database keeps it.
google::protobuf::Timestamp CutToMicroseconds(google::protobuf::Timestamp stamp);

// Microseconds since 1970, as the statements select moments, because extract(epoch ...) is exact
// where an interval or a float is not.
google::protobuf::Timestamp TimestampFromMicroseconds(int64_t microseconds);
google::protobuf::Timestamp TimestampFromField(const pqxx::field& field);

// A caller's etag as a parameter of a statement, where text ends at a NUL and an empty one stands
// for none: with a NUL in it, it is none that the database gave, and becomes a text that matches
// none.
std::string EtagParameter(const std::string& etag);

// What a list is to return: at most `limit` rows after `last_key` (empty for the first page).
struct Page {
  int limit = 0;
  std::vector<int64_t> last_key;
};

}  // namespace energysites::storage

#endif  // STORAGE_POSTGRES_ROWS_H_
