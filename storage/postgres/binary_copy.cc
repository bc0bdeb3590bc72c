#include "storage/postgres/binary_copy.h"

namespace energysites::storage {
namespace {

constexpr char kSignature[] = "PGCOPY\n\377\r\n";  // With the zero at its end.
constexpr int kRowBytes = 128;

}  // namespace

BinaryCopyIn::BinaryCopyIn(Connection& connection, const std::string& sql)
    : copy_(connection, sql) {
  piece_.reserve(kPieceBytes + kRowBytes);
  piece_.append(kSignature, sizeof(kSignature));
  AppendBinary(piece_, int32_t{0});  // No flags,
  AppendBinary(piece_, int32_t{0});  // and no extension of the header.
}

void BinaryCopyIn::Finish() {
  AppendCount(-1);  // The trailer.
  Flush();
  copy_.Finish();
}

void BinaryCopyIn::Flush() {
  copy_.Put(piece_);
  piece_.clear();
}

}  // namespace energysites::storage
