// Entries to send: of sites drawn at random, with the digits that meters have.
#ifndef TESTS_BENCH_ENTRIES_H_
#define TESTS_BENCH_ENTRIES_H_

#include <cstdint>
#include <random>

#include "energysites/v1/live_data.pb.h"

namespace energysites::bench {

// Sites 1 to `sites` report, all together once a minute: row k of a stretch comes k * 60 s / sites
// after its beginning, as in the file that psql's \copy reads.
class Entries {
 public:
  Entries(int sites, uint64_t seed) : random_(seed), site_(1, sites) {}

  int64_t RandomSite() { return site_(random_); }

  // Fills all that a caller sends. The values are those of the other side's SQL: a percentage with
  // one digit after the point, kilowatt-hours with four.
  void Fill(int64_t dt_stamp_us, v1::LiveDataEntry& entry);

  std::mt19937_64& random() { return random_; }

 private:
  std::mt19937_64 random_;
  std::uniform_int_distribution<int64_t> site_;
};

inline void Entries::Fill(int64_t dt_stamp_us, v1::LiveDataEntry& entry) {
  constexpr int64_t kMicroseconds = 1'000'000;
  const uint64_t bits = random_();
  entry.set_site_id(RandomSite());
  entry.mutable_dt_stamp()->set_seconds(dt_stamp_us / kMicroseconds);
  entry.mutable_dt_stamp()->set_nanos(static_cast<int32_t>(dt_stamp_us % kMicroseconds) * 1000);
  entry.set_soc(static_cast<double>((bits & 0xffff) % 1001) / 10);
  entry.set_load_kwh(static_cast<double>((bits >> 16 & 0xffff) % 20'000) / 10'000);
  entry.set_net_load_kwh(static_cast<double>((bits >> 32 & 0xffff) % 20'000) / 10'000);
  entry.set_pv_notification(bits >> 48 & 1);
  entry.set_bio_notification(false);
  entry.set_cro_notification(false);
}

}  // namespace energysites::bench

#endif  // TESTS_BENCH_ENTRIES_H_
