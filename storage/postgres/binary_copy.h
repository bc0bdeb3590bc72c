// Sends rows to the database in the binary format of COPY.
#ifndef STORAGE_POSTGRES_BINARY_COPY_H_
#define STORAGE_POSTGRES_BINARY_COPY_H_

#include <cstdint>
#include <string>

#include "storage/postgres/binary_format.h"
#include "storage/postgres/connection.h"

namespace energysites::storage {

// One `COPY ... FROM STDIN (FORMAT binary)`. Throws what libpqxx would throw.
class BinaryCopyIn {
 public:
  BinaryCopyIn(Connection& connection, const std::string& sql);

  // A value for each column, of the column's type: bool, int64_t, double or Moment.
  template <class... Values>
  void AddRow(const Values&... values) {
    AppendCount(sizeof...(values));
    (AddField(values), ...);
    if (piece_.size() >= kPieceBytes) Flush();
  }

  // Ends the COPY. If it is not called, the transaction must end with an exception.
  void Finish();

 private:
  // Small enough for the processor's cache, and for the database to work in parallel.
  static constexpr size_t kPieceBytes = 64 << 10;

  template <class Value>
  void AddField(const Value& value) {
    AppendBinary(piece_, static_cast<int32_t>(sizeof(value)));
    AppendBinary(piece_, value);
  }

  // Appends the number of fields of a row, in 16 bits.
  void AppendCount(int count) {
    piece_ += {static_cast<char>(count >> 8), static_cast<char>(count)};
  }

  void Flush();

  CopyIn copy_;
  std::string piece_;
};

}  // namespace energysites::storage

#endif  // STORAGE_POSTGRES_BINARY_COPY_H_
