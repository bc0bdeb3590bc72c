#include "storage/postgres/binary_query.h"

#include <cstring>
#include <limits>

#include "storage/postgres/rows.h"

namespace energysites::storage {
namespace {

// From 1970 to 2000, in microseconds.
constexpr int64_t kPostgresEpoch = 946684800'000000;

// Object ids of built-in types, from PostgreSQL's pg_type.dat.
constexpr int32_t TypeOf(bool) { return 16; }
constexpr int32_t TypeOf(int64_t) { return 20; }
constexpr int32_t TypeOf(absl::string_view) { return 17; }  // bytea
constexpr int32_t TypeOf(double) { return 701; }
constexpr int32_t TypeOf(Moment) { return 1184; }

void AppendBits(std::string& bytes, uint64_t value) {
  char buffer[sizeof(value)];
  for (size_t i = sizeof(value); i-- > 0; value >>= 8) buffer[i] = static_cast<char>(value);
  bytes.append(buffer, sizeof(buffer));
}

uint64_t BitsOf(const char* bytes) {
  uint64_t value = 0;
  for (size_t i = 0; i < sizeof(value); ++i) {
    value = value << 8 | static_cast<unsigned char>(bytes[i]);
  }
  return value;
}

}  // namespace

Moment Moment::From(const google::protobuf::Timestamp& stamp) {
  return FromUnixMicroseconds(stamp.seconds() * 1000000 + stamp.nanos() / 1000);
}

Moment Moment::AtOrAfter(const google::protobuf::Timestamp& stamp) {
  constexpr int kNanosPerMicrosecond = 1000;
  Moment moment = From(stamp);
  if (stamp.nanos() % kNanosPerMicrosecond != 0) ++moment.microseconds;
  return moment;
}

Moment Moment::FromUnixMicroseconds(int64_t microseconds) {
  return {microseconds - kPostgresEpoch};
}

Moment Moment::BeforeAll() { return {std::numeric_limits<int64_t>::min()}; }

Moment Moment::AfterAll() { return {std::numeric_limits<int64_t>::max()}; }

google::protobuf::Timestamp Moment::ToTimestamp() const {
  return TimestampFromMicroseconds(microseconds + kPostgresEpoch);
}

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

template <class T>
void BinaryArray<T>::SetLength(size_t start) {
  std::string length;
  AppendBinary(length, static_cast<int32_t>(bytes_.size() - start - sizeof(int32_t)));
  bytes_.replace(start, length.size(), length);
}

template <class T>
std::string BinaryArray<T>::Take() {
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
  bytes_.clear();
  size_ = 0;
  return array;
}

template class BinaryArray<bool>;
template class BinaryArray<int64_t>;
template class BinaryArray<double>;
template class BinaryArray<Moment>;
template class BinaryArray<absl::string_view>;

bool BinaryRows::Bool(int row, int column) const {
  return *PQgetvalue(result_.get(), row, column) != '\0';
}

int64_t BinaryRows::Int64(int row, int column) const {
  return static_cast<int64_t>(BitsOf(PQgetvalue(result_.get(), row, column)));
}

double BinaryRows::Double(int row, int column) const {
  const uint64_t bits = BitsOf(PQgetvalue(result_.get(), row, column));
  double value;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}

Moment BinaryRows::Stamp(int row, int column) const { return {Int64(row, column)}; }

absl::string_view BinaryRows::Bytes(int row, int column) const {
  return {PQgetvalue(result_.get(), row, column),
          static_cast<size_t>(PQgetlength(result_.get(), row, column))};
}

BinaryRows ExecBinary(Connection& connection, const Statement& statement,
                      const Parameters& parameters) {
  connection.prepare_now(statement.name);
  std::vector<const char*> values;
  std::vector<int> lengths;
  for (const Parameter& parameter : parameters) {
    values.push_back(parameter.bytes().data());
    lengths.push_back(static_cast<int>(parameter.bytes().size()));
  }
  const std::vector<int> formats(values.size(), 1);
  constexpr int kBinary = 1;
  PGconn* const raw = connection.raw();
  return BinaryRows(
      CheckResult(raw,
                  PQexecPrepared(raw, statement.name, static_cast<int>(values.size()),
                                 values.data(), lengths.data(), formats.data(), kBinary),
                  statement.name));
}

}  // namespace energysites::storage
