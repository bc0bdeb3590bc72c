// The hashes of the last batches of an ingest session.
#ifndef STORAGE_INSERTS_BATCH_HASHES_H_
#define STORAGE_INSERTS_BATCH_HASHES_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace energysites::storage {

// Not safe for use from several threads at once.
class BatchHashes {
 public:
  // Hashes of older batches are dropped, and these batches cannot be repeated.
  static constexpr size_t kMaxHashes = 64;

  // Of a new session.
  BatchHashes() = default;
  // Of a session whose last committed batch is `committed_sequence`. `bytes` is what bytes()
  // returned when `hashed_sequence` was the last batch. A server version without hashes committed
  // the batches between the two.
  BatchHashes(int64_t committed_sequence, int64_t hashed_sequence, absl::string_view bytes);

  // Adds the next batch. `hash` has at least 16 bytes, of which the first 16 are kept.
  void Add(absl::string_view hash);

  // For a batch whose sequence number was used before. Returns FAILED_PRECONDITION if it is not one
  // of the last kMaxHashes batches; ALREADY_EXISTS if its hash differs from the one that was added;
  // else OK, also if no hash is known because a server version without hashes committed the batch.
  absl::Status CheckRepeat(int64_t sequence, absl::string_view hash) const;

  const std::string& bytes() const { return bytes_; }

 private:
  // Inserts one or several hashes before the others.
  void Prepend(absl::string_view hashes);

  int64_t last_sequence_ = 0;
  // The hashes of the last batches, newest first. Those that are unknown are zero; at the end they
  // may be missing.
  std::string bytes_;
};

}  // namespace energysites::storage

#endif  // STORAGE_INSERTS_BATCH_HASHES_H_
