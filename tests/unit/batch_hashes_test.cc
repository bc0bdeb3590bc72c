// Which repeats of a batch are acknowledged.
#include "storage/batch_hashes.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace energysites::storage {
namespace {

constexpr int64_t kMax = BatchHashes::kMaxHashes;

// 32 bytes, as those of SHA-256.
std::string HashOf(int64_t content) {
  std::string hash(32, '\0');
  hash.replace(0, sizeof(content), reinterpret_cast<const char*>(&content), sizeof(content));
  return hash;
}

BatchHashes OfBatches(int64_t first, int64_t last) {
  BatchHashes hashes;
  for (int64_t i = first; i <= last; ++i) hashes.Add(i, HashOf(i));
  return hashes;
}

TEST(BatchHashesTest, ComparesTheLastOnes) {
  const BatchHashes hashes = OfBatches(1, kMax + 3);
  EXPECT_EQ(hashes.bytes().size(), 16u * kMax);
  for (int64_t sequence = 4; sequence <= kMax + 3; ++sequence) {
    EXPECT_TRUE(hashes.CheckRepeat(sequence, HashOf(sequence)).ok()) << sequence;
    EXPECT_TRUE(absl::IsAlreadyExists(hashes.CheckRepeat(sequence, HashOf(0)))) << sequence;
  }
  for (const int64_t sequence : {int64_t{1}, int64_t{3}}) {
    EXPECT_TRUE(absl::IsFailedPrecondition(hashes.CheckRepeat(sequence, HashOf(sequence))));
  }
}

TEST(BatchHashesTest, AreTheSameAfterTheDatabase) {
  const BatchHashes hashes = OfBatches(1, 5);
  const BatchHashes read(hashes.last_sequence(), hashes.bytes());
  EXPECT_TRUE(read.CheckRepeat(2, HashOf(2)).ok());
  EXPECT_TRUE(absl::IsAlreadyExists(read.CheckRepeat(5, HashOf(4))));
}

TEST(BatchHashesTest, BatchesOfAnOlderVersionAreNotCompared) {
  EXPECT_TRUE(BatchHashes().CheckRepeat(9, HashOf(0)).ok());
  // Batches 11 to 13 are of an older version that ran between two of this one.
  BatchHashes hashes = OfBatches(10, 10);
  EXPECT_TRUE(hashes.CheckRepeat(9, HashOf(0)).ok());
  EXPECT_TRUE(hashes.CheckRepeat(12, HashOf(0)).ok());
  hashes.Add(14, HashOf(14));
  EXPECT_TRUE(hashes.CheckRepeat(10, HashOf(0)).ok());
  EXPECT_TRUE(hashes.CheckRepeat(13, HashOf(0)).ok());
  EXPECT_TRUE(absl::IsAlreadyExists(hashes.CheckRepeat(14, HashOf(0))));
}

}  // namespace
}  // namespace energysites::storage
