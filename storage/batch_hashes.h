// The hashes of the last batches of an ingest session.
#ifndef STORAGE_BATCH_HASHES_H_
#define STORAGE_BATCH_HASHES_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace energysites::storage {

// Not safe for use from several threads at once.
class BatchHashes {
 public:
  // Hashes of older batches are dropped.
  static constexpr size_t kMaxHashes = 64;

  BatchHashes() = default;
  // `bytes` are those of bytes(), when `last_sequence` was the last batch.
  BatchHashes(int64_t last_sequence, std::string bytes)
      : last_sequence_(last_sequence), bytes_(std::move(bytes)) {}

  // `hash` has at least 16 bytes, of which the first 16 are kept.
  void Add(int64_t sequence, absl::string_view hash);

  // For a batch whose sequence number was used before. Returns OK if its hash is the one that was
  // added, or if a server version without hashes committed it; ALREADY_EXISTS if its hash is
  // another one; FAILED_PRECONDITION if its hash was dropped.
  absl::Status CheckRepeat(int64_t sequence, absl::string_view hash) const;

  int64_t last_sequence() const { return last_sequence_; }
  const std::string& bytes() const { return bytes_; }

 private:
  int64_t last_sequence_ = 0;
  std::string bytes_;  // Newest first, those of consecutive batches.
};

}  // namespace energysites::storage

#endif  // STORAGE_BATCH_HASHES_H_
