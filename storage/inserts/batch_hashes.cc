#include "storage/inserts/batch_hashes.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "storage/errors/errors.h"

namespace energysites::storage {
namespace {

constexpr size_t kHashBytes = 16;

constexpr char kUnknownHash[kHashBytes] = {};

}  // namespace

BatchHashes::BatchHashes(int64_t committed_sequence, int64_t hashed_sequence,
                         absl::string_view bytes)
    : last_sequence_(committed_sequence), bytes_(bytes) {
  const auto unknown = static_cast<size_t>(committed_sequence - hashed_sequence);
  Prepend(std::string(std::min(unknown, kMaxHashes) * kHashBytes, '\0'));
}

void BatchHashes::Add(absl::string_view hash) {
  ++last_sequence_;
  Prepend(hash.substr(0, kHashBytes));
}

absl::Status BatchHashes::CheckRepeat(int64_t sequence, absl::string_view hash) const {
  const auto age = static_cast<size_t>(last_sequence_ - sequence);
  if (age >= kMaxHashes) return IngestSequenceTooOld(sequence, kMaxHashes);
  const size_t position = age * kHashBytes;
  if (position >= bytes_.size()) return absl::OkStatus();
  const absl::string_view known = absl::string_view(bytes_).substr(position, kHashBytes);
  if (known == absl::string_view(kUnknownHash, kHashBytes)) return absl::OkStatus();
  return known == hash.substr(0, kHashBytes) ? absl::OkStatus() : IngestSequenceReused(sequence);
}

void BatchHashes::Prepend(absl::string_view hashes) {
  bytes_ = absl::StrCat(hashes, bytes_);
  if (bytes_.size() > kMaxHashes * kHashBytes) bytes_.resize(kMaxHashes * kHashBytes);
}

}  // namespace energysites::storage
