#include "storage/postgres/query.h"

#include <cstring>
#include <stdexcept>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace energysites::storage {
namespace {

[[noreturn]] void ThrowNoSuchField(int row, int column) {
  throw std::logic_error(absl::StrCat("row ", row, " has no value of the expected type in column ",
                                      column, " of the result"));
}

}  // namespace

int64_t Rows::affected() const {
  int64_t count = 0;
  if (!absl::SimpleAtoi(PQcmdTuples(result_.get()), &count)) return 0;
  return count;
}

bool Rows::IsNull(int row, int column) const {
  return PQgetisnull(result_.get(), row, column) != 0;
}

const char* Rows::Field(int row, int column, int size) const {
  // Of a field that is null or that there is not, the length is 0.
  if (PQgetlength(result_.get(), row, column) != size) ThrowNoSuchField(row, column);
  return PQgetvalue(result_.get(), row, column);
}

bool Rows::Bool(int row, int column) const { return *Field(row, column, 1) != '\0'; }

int32_t Rows::Int32(int row, int column) const {
  const char* const bytes = Field(row, column, sizeof(int32_t));
  uint32_t value = 0;
  for (size_t i = 0; i < sizeof(value); ++i) {
    value = value << 8 | static_cast<unsigned char>(bytes[i]);
  }
  return static_cast<int32_t>(value);
}

int64_t Rows::Int64(int row, int column) const {
  return static_cast<int64_t>(BitsFromBinary(Field(row, column, sizeof(int64_t))));
}

double Rows::Double(int row, int column) const {
  const uint64_t bits = BitsFromBinary(Field(row, column, sizeof(double)));
  double value;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}

Moment Rows::Stamp(int row, int column) const { return {Int64(row, column)}; }

absl::string_view Rows::Text(int row, int column) const {
  if (IsNull(row, column)) ThrowNoSuchField(row, column);
  return {PQgetvalue(result_.get(), row, column),
          static_cast<size_t>(PQgetlength(result_.get(), row, column))};
}

Rows Query(const pqxx::transaction_base& transaction, const Statement& statement,
           const Parameters& parameters) {
  auto& connection = static_cast<Connection&>(transaction.conn());
  connection.PrepareOnce(statement);
  std::vector<const char*> values;
  std::vector<int> lengths;
  for (const Parameter& parameter : parameters) {
    values.push_back(parameter.is_null() ? nullptr : parameter.bytes().data());
    lengths.push_back(static_cast<int>(parameter.bytes().size()));
  }
  const std::vector<int> formats(values.size(), 1);
  constexpr int kBinary = 1;
  PGconn* const raw = connection.raw();
  return Rows(CheckResult(raw,
                          PQexecPrepared(raw, statement.name, static_cast<int>(values.size()),
                                         values.data(), lengths.data(), formats.data(), kBinary),
                          statement.name));
}

}  // namespace energysites::storage
