// PostgreSQL's binary format of values and arrays: for parameters of statements and for COPY.
#ifndef STORAGE_POSTGRES_BINARY_FORMAT_H_
#define STORAGE_POSTGRES_BINARY_FORMAT_H_

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"
#include "storage/postgres/moment.h"

namespace energysites::storage {

// A bytea, as an element of an array, where the database distinguishes it from a text.
struct Bytea {
  absl::string_view bytes;
};

// Appends `value` as its type is in the database: boolean, integer, bigint, double precision,
// timestamptz, text and bytea.
void AppendBinary(std::string& bytes, bool value);
void AppendBinary(std::string& bytes, int32_t value);
void AppendBinary(std::string& bytes, int64_t value);
void AppendBinary(std::string& bytes, double value);
void AppendBinary(std::string& bytes, Moment value);
void AppendBinary(std::string& bytes, absl::string_view value);
void AppendBinary(std::string& bytes, Bytea value);

// The value in eight bytes, in network byte order.
uint64_t BitsFromBinary(const char* bytes);

// An array as a parameter. T is bool, int64_t, double, Moment, absl::string_view for text, or
// Bytea.
template <class T>
class Array {
 public:
  void Add(const T& value) {
    const size_t start = bytes_.size();
    AppendBinary(bytes_, int32_t{0});
    AppendBinary(bytes_, value);
    SetLength(start);
    ++size_;
  }

  std::string ToBinary() const;

 private:
  void SetLength(size_t start);

  std::string bytes_;
  int32_t size_ = 0;
};

}  // namespace energysites::storage

#endif  // STORAGE_POSTGRES_BINARY_FORMAT_H_
