#include "storage/batch_hashes.h"

#include "absl/strings/str_cat.h"
#include "storage/errors.h"

namespace energysites::storage {
namespace {

constexpr size_t kHashBytes = 16;

}  // namespace

void BatchHashes::Add(int64_t sequence, absl::string_view hash) {
  // After batches that a server version without hashes committed.
  if (sequence != last_sequence_ + 1) bytes_.clear();
  last_sequence_ = sequence;
  bytes_ = absl::StrCat(hash.substr(0, kHashBytes), bytes_);
  if (bytes_.size() > kMaxHashes * kHashBytes) bytes_.resize(kMaxHashes * kHashBytes);
}

absl::Status BatchHashes::CheckRepeat(int64_t sequence, absl::string_view hash) const {
  if (sequence > last_sequence_) return absl::OkStatus();
  const size_t hashes = bytes_.size() / kHashBytes;
  const uint64_t age = static_cast<uint64_t>(last_sequence_ - sequence);
  if (age < hashes) {
    const absl::string_view known = absl::string_view(bytes_).substr(age * kHashBytes, kHashBytes);
    return known == hash.substr(0, kHashBytes) ? absl::OkStatus() : IngestSequenceReused(sequence);
  }
  // With fewer hashes than are kept, none was dropped.
  return hashes < kMaxHashes ? absl::OkStatus() : IngestSequenceTooOld(sequence, kMaxHashes);
}

}  // namespace energysites::storage
