#include "services/rpc/page_token.h"

#include <zlib.h>

#include <algorithm>
#include <memory>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "services/errors/errors.h"
#include "services/rpc/request_hash.h"

namespace energysites {
namespace {

constexpr char kVersion = 1;
constexpr size_t kHeaderBytes = 1 + 4;
constexpr size_t kChecksumBytes = 4;
constexpr size_t kNumberBytes = 8;

void AppendNumber(std::string* bytes, uint64_t value, size_t width) {
  for (size_t i = 0; i < width; ++i) bytes->push_back(static_cast<char>(value >> (8 * i)));
}

uint64_t ReadNumber(absl::string_view bytes, size_t width) {
  uint64_t value = 0;
  for (size_t i = 0; i < width; ++i) {
    value |= static_cast<uint64_t>(static_cast<unsigned char>(bytes[i])) << (8 * i);
  }
  return value;
}

uint32_t Checksum(absl::string_view bytes) {
  return crc32(0, reinterpret_cast<const Bytef*>(bytes.data()), bytes.size());
}

}  // namespace

uint32_t Fingerprint(const google::protobuf::Message& message) {
  // Includes the type, because requests of different methods may have the same bytes.
  return Checksum(
      absl::StrCat(message.GetDescriptor()->full_name(), "\n", CanonicalBytes(message)));
}

uint32_t ListFingerprint(const google::protobuf::Message& request) {
  const std::unique_ptr<google::protobuf::Message> list(request.New());
  list->CopyFrom(request);
  const auto* descriptor = list->GetDescriptor();
  for (const char* field : {"page_size", "page_token"}) {
    list->GetReflection()->ClearField(list.get(), descriptor->FindFieldByName(field));
  }
  return Fingerprint(*list);
}

std::string EncodePageToken(uint32_t fingerprint, const std::vector<int64_t>& last_key) {
  std::string bytes(1, kVersion);
  AppendNumber(&bytes, fingerprint, 4);
  for (const int64_t number : last_key) AppendNumber(&bytes, number, kNumberBytes);
  AppendNumber(&bytes, Checksum(bytes), kChecksumBytes);
  return absl::WebSafeBase64Escape(bytes);
}

absl::StatusOr<PageToken> ReadPageToken(absl::string_view token, size_t key_size) {
  std::string bytes;
  const size_t size = kHeaderBytes + key_size * kNumberBytes + kChecksumBytes;
  // The comparison rejects what the decoder accepts: white space, padding, unused bits.
  if (!absl::WebSafeBase64Unescape(token, &bytes) || bytes.size() != size ||
      absl::WebSafeBase64Escape(bytes) != token) {
    return BadPageToken();
  }
  const absl::string_view view = bytes;
  const absl::string_view body = view.substr(0, size - kChecksumBytes);
  if (ReadNumber(view.substr(body.size()), kChecksumBytes) != Checksum(body) ||
      body[0] != kVersion) {
    return BadPageToken();
  }
  PageToken read;
  read.fingerprint = static_cast<uint32_t>(ReadNumber(body.substr(1), 4));
  for (size_t i = 0; i < key_size; ++i) {
    read.last_key.push_back(ReadNumber(body.substr(kHeaderBytes + i * kNumberBytes), kNumberBytes));
  }
  return read;
}

absl::StatusOr<std::vector<int64_t>> DecodePageToken(absl::string_view token, uint32_t fingerprint,
                                                     size_t key_size) {
  auto read = ReadPageToken(token, key_size);
  if (!read.ok()) return read.status();
  if (read->fingerprint != fingerprint) return BadPageToken();
  return std::move(read->last_key);
}

int EffectivePageSize(int page_size) {
  return page_size == 0 ? kDefaultPageSize : std::min(page_size, kMaxPageSize);
}

}  // namespace energysites
