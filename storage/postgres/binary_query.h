// Prepared statements with parameters and results in PostgreSQL's binary format, for the paths
// where the cost of text shows.
#ifndef STORAGE_POSTGRES_BINARY_QUERY_H_
#define STORAGE_POSTGRES_BINARY_QUERY_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "google/protobuf/timestamp.pb.h"
#include "storage/postgres/connection.h"
#include "storage/postgres/statement.h"

namespace energysites::storage {

// A timestamptz as the database keeps it, the type of a parameter or of a column.
struct Moment {
  // Microseconds since 2000-01-01T00:00:00Z.
  int64_t microseconds = 0;

  // What is finer than a microsecond is cut off.
  static Moment From(const google::protobuf::Timestamp& stamp);
  // The first at or after `stamp`: a bound between two microseconds moves up, where a cut would
  // move it to before an entry or behind it.
  static Moment AtOrAfter(const google::protobuf::Timestamp& stamp);
  static Moment FromUnixMicroseconds(int64_t microseconds);
  static Moment BeforeAll();  // -infinity
  static Moment AfterAll();   // infinity
  google::protobuf::Timestamp ToTimestamp() const;
};

// Appends `value` in network byte order.
void AppendBinary(std::string& bytes, bool value);
void AppendBinary(std::string& bytes, int32_t value);
void AppendBinary(std::string& bytes, int64_t value);
void AppendBinary(std::string& bytes, double value);
void AppendBinary(std::string& bytes, Moment value);
void AppendBinary(std::string& bytes, absl::string_view value);

// An array as a parameter. T is bool, int64_t, double, Moment, or absl::string_view for bytea.
template <class T>
class BinaryArray {
 public:
  void Add(const T& value) {
    const size_t start = bytes_.size();
    AppendBinary(bytes_, int32_t{0});
    AppendBinary(bytes_, value);
    SetLength(start);
    ++size_;
  }

  std::string Take();

 private:
  void SetLength(size_t start);

  std::string bytes_;
  int32_t size_ = 0;
};

// One parameter, in the binary format of the type that the statement expects.
class Parameter {
 public:
  Parameter(int64_t value) { AppendBinary(bytes_, value); }                // NOLINT
  Parameter(Moment value) { AppendBinary(bytes_, value); }                 // NOLINT
  Parameter(absl::string_view text) : bytes_(text.data(), text.size()) {}  // NOLINT
  template <class T>
  Parameter(BinaryArray<T>& array) : bytes_(array.Take()) {}  // NOLINT: takes what was added.

  const std::string& bytes() const { return bytes_; }

 private:
  std::string bytes_;
};

using Parameters = std::vector<Parameter>;

// Rows in binary format. Columns go by their place in the SELECT list, and none of them is null.
class BinaryRows {
 public:
  explicit BinaryRows(PgResult result) : result_(std::move(result)) {}

  int size() const { return PQntuples(result_.get()); }
  bool Bool(int row, int column) const;
  int64_t Int64(int row, int column) const;
  double Double(int row, int column) const;
  Moment Stamp(int row, int column) const;
  // Valid as long as the rows.
  absl::string_view Bytes(int row, int column) const;

 private:
  PgResult result_;
};

// Runs a prepared statement inside the transaction that is open on `connection`. Throws what
// libpqxx would throw.
BinaryRows ExecBinary(Connection& connection, const Statement& statement,
                      const Parameters& parameters);

}  // namespace energysites::storage

#endif  // STORAGE_POSTGRES_BINARY_QUERY_H_
