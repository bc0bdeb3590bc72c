// Runs statements, with parameters and results in PostgreSQL's binary format.
#ifndef STORAGE_POSTGRES_QUERY_H_
#define STORAGE_POSTGRES_QUERY_H_

#include <cstdint>
#include <optional>
#include <pqxx/pqxx>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "storage/postgres/binary_format.h"
#include "storage/postgres/connection.h"
#include "storage/postgres/moment.h"
#include "storage/postgres/statement.h"

namespace energysites::storage {

// One parameter. Its type must be the one that the statement's SQL infers: int64_t for bigint (as
// LIMIT takes), int32_t for integer, double for double precision, bool for boolean, Moment for
// timestamptz, a string for text and bytea, and Array for an array.
class Parameter {
 public:
  Parameter(bool value) : Parameter(Encoded(), value) {}               // NOLINT
  Parameter(int32_t value) : Parameter(Encoded(), value) {}            // NOLINT
  Parameter(int64_t value) : Parameter(Encoded(), value) {}            // NOLINT
  Parameter(double value) : Parameter(Encoded(), value) {}             // NOLINT
  Parameter(Moment value) : Parameter(Encoded(), value) {}             // NOLINT
  Parameter(absl::string_view value) : Parameter(Encoded(), value) {}  // NOLINT
  Parameter(const std::string& value) : bytes_(value) {}               // NOLINT
  Parameter(const char*) = delete;
  Parameter(std::nullopt_t) : is_null_(true) {}  // NOLINT
  template <class T>
  Parameter(const std::optional<T>& value)  // NOLINT
      : Parameter(value.has_value() ? Parameter(*value) : Parameter(std::nullopt)) {}
  template <class T>
  Parameter(const Array<T>& array) : bytes_(array.ToBinary()) {}  // NOLINT

  bool is_null() const { return is_null_; }
  const std::string& bytes() const { return bytes_; }

 private:
  struct Encoded {};
  template <class T>
  Parameter(Encoded, const T& value) {
    AppendBinary(bytes_, value);
  }

  std::string bytes_;
  bool is_null_ = false;
};

using Parameters = std::vector<Parameter>;

// What a statement returned. Columns are numbered from 0 in the order of the SELECT list. Each
// method throws std::logic_error if there is no such row or if the column is null or of another
// type.
class Rows {
 public:
  explicit Rows(PgResult result) : result_(std::move(result)) {}

  int size() const { return PQntuples(result_.get()); }
  bool empty() const { return size() == 0; }
  // How many rows the statement inserted, updated or deleted, if that is what it does.
  int64_t affected() const;

  bool IsNull(int row, int column) const;
  bool Bool(int row, int column) const;
  int32_t Int32(int row, int column) const;
  int64_t Int64(int row, int column) const;
  double Double(int row, int column) const;
  Moment Stamp(int row, int column) const;
  // A text or bytea; valid as long as the rows.
  absl::string_view Text(int row, int column) const;
  std::string String(int row, int column) const { return std::string(Text(row, column)); }

 private:
  const char* Field(int row, int column, int size) const;

  PgResult result_;
};

// Runs `statement`, which is prepared when a connection first runs it. `transaction` is one of a
// Connection, as those of a Session are. Throws what libpqxx would throw.
Rows Query(const pqxx::transaction_base& transaction, const Statement& statement,
           const Parameters& parameters = {});

}  // namespace energysites::storage

#endif  // STORAGE_POSTGRES_QUERY_H_
