// Which repeats of a batch are acknowledged.
#include "storage/inserts/batch_hashes.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace energysites::storage {
namespace {

constexpr int64_t kMax = BatchHashes::kMaxHashes;

// 32 bytes, as a SHA-256 hash.
std::string HashOf(int64_t content) {
  std::string hash(32, '\0');
  hash.replace(0, sizeof(content), reinterpret_cast<const char*>(&content), sizeof(content));
  return hash;
}

// The hashes of a session whose batches 1 to `last` are committed.
BatchHashes OfBatches(int64_t last) {
  BatchHashes hashes;
  for (int64_t i = 1; i <= last; ++i) hashes.Add(HashOf(i));
  return hashes;
}

TEST(BatchHashesTest, ComparesTheLastOnes) {
  const BatchHashes hashes = OfBatches(kMax + 3);
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
  const BatchHashes read(5, 5, OfBatches(5).bytes());
  EXPECT_TRUE(read.CheckRepeat(2, HashOf(2)).ok());
  EXPECT_TRUE(absl::IsAlreadyExists(read.CheckRepeat(5, HashOf(4))));
}

TEST(BatchHashesTest, OnlyTheLastBatchesOfAnOlderVersionMayBeRepeated) {
  BatchHashes hashes(100, 0, "");
  EXPECT_TRUE(absl::IsFailedPrecondition(hashes.CheckRepeat(1, HashOf(1))));
  EXPECT_TRUE(absl::IsFailedPrecondition(hashes.CheckRepeat(100 - kMax, HashOf(0))));
  for (int64_t sequence = 101 - kMax; sequence <= 100; ++sequence) {
    EXPECT_TRUE(hashes.CheckRepeat(sequence, HashOf(sequence)).ok()) << sequence;
  }
  hashes.Add(HashOf(101));
  EXPECT_TRUE(absl::IsFailedPrecondition(hashes.CheckRepeat(101 - kMax, HashOf(0))));
  EXPECT_TRUE(hashes.CheckRepeat(102 - kMax, HashOf(0)).ok());
  EXPECT_TRUE(absl::IsAlreadyExists(hashes.CheckRepeat(101, HashOf(0))));
}

TEST(BatchHashesTest, AreKeptBesideBatchesOfAnOlderVersion) {
  // Batches 4 and 5 were committed by an older version.
  BatchHashes hashes(5, 3, OfBatches(3).bytes());
  for (int64_t last = 5; last < 3 + kMax; ++last) {
    for (const int64_t sequence : {1, 2, 3}) {
      // Batch 1 leaves the window before batch 3 does.
      if (last - sequence >= kMax) continue;
      EXPECT_TRUE(hashes.CheckRepeat(sequence, HashOf(sequence)).ok()) << last;
      EXPECT_TRUE(absl::IsAlreadyExists(hashes.CheckRepeat(sequence, HashOf(0)))) << last;
    }
    EXPECT_TRUE(hashes.CheckRepeat(4, HashOf(0)).ok()) << last;
    EXPECT_TRUE(hashes.CheckRepeat(5, HashOf(0)).ok()) << last;
    hashes.Add(HashOf(last + 1));
  }
  EXPECT_TRUE(absl::IsFailedPrecondition(hashes.CheckRepeat(3, HashOf(3))));
}

TEST(BatchHashesTest, AreDroppedAfterManyBatchesOfAnOlderVersion) {
  const BatchHashes hashes(3 + kMax, 3, OfBatches(3).bytes());
  EXPECT_TRUE(absl::IsFailedPrecondition(hashes.CheckRepeat(3, HashOf(3))));
  EXPECT_TRUE(hashes.CheckRepeat(4, HashOf(0)).ok());
}

}  // namespace
}  // namespace energysites::storage
