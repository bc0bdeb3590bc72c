#include "storage/postgres/binary_format.h"

#include <cstring>

namespace energysites::storage {
namespace {

// Object ids of built-in types, from PostgreSQL's pg_type.dat.
constexpr int32_t TypeOf(bool) { return 16; }
constexpr int32_t TypeOf(Bytea) { return 17; }
constexpr int32_t TypeOf(int64_t) { return 20; }
constexpr int32_t TypeOf(absl::string_view) { return 25; }
constexpr int32_t TypeOf(double) { return 701; }
constexpr int32_t TypeOf(Moment) { return 1184; }

void AppendBits(std::string& bytes, uint64_t value) {
  char buffer[sizeof(value)];
  for (size_t i = sizeof(value); i-- > 0; value >>= 8) buffer[i] = static_cast<char>(value);
  bytes.append(buffer, sizeof(buffer));
}

}  // namespace

void AppendBinary(std::string& bytes, bool value) { bytes += value ? '\1' : '\0'; }

void AppendBinary(std::string& bytes, int32_t value) {
  const uint32_t bits = value;
  bytes += {static_cast<char>(bits >> 24), static_cast<char>(bits >> 16),
            static_cast<char>(bits >> 8), static_cast<char>(bits)};
}

void AppendBinary(std::string& bytes, int64_t value) { AppendBits(bytes, value); }

void AppendBinary(std::string& bytes, double value) {
  uint64_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  AppendBits(bytes, bits);
}

void AppendBinary(std::string& bytes, Moment value) { AppendBits(bytes, value.microseconds); }

void AppendBinary(std::string& bytes, absl::string_view value) {
  bytes.append(value.data(), value.size());
}

void AppendBinary(std::string& bytes, Bytea value) { AppendBinary(bytes, value.bytes); }

uint64_t BitsFromBinary(const char* bytes) {
  uint64_t value = 0;
  for (size_t i = 0; i < sizeof(value); ++i) {
    value = value << 8 | static_cast<unsigned char>(bytes[i]);
  }
  return value;
}

template <class T>
void Array<T>::SetLength(size_t start) {
  std::string length;
  AppendBinary(length, static_cast<int32_t>(bytes_.size() - start - sizeof(int32_t)));
  bytes_.replace(start, length.size(), length);
}

template <class T>
std::string Array<T>::ToBinary() const {
  std::string array;
  array.reserve(20 + bytes_.size());
  AppendBinary(array, int32_t{size_ > 0});  // Dimensions.
  AppendBinary(array, int32_t{0});          // No element is null.
  AppendBinary(array, TypeOf(T()));
  if (size_ > 0) {
    AppendBinary(array, size_);
    AppendBinary(array, int32_t{1});  // The index of the first.
  }
  array += bytes_;
  return array;
}

template class Array<bool>;
template class Array<int64_t>;
template class Array<double>;
template class Array<Moment>;
template class Array<absl::string_view>;
template class Array<Bytea>;

}  // namespace energysites::storage
