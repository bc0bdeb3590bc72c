// What validation costs: time and heap allocations per message.
//   cmake --build --preset release --target validator_benchmark
//   build/release/tests/validator_benchmark
#include <atomic>
#include <cstdlib>
#include <new>

#include "benchmark/benchmark.h"
#include "energysites/v1/live_data.pb.h"
#include "energysites/v1/sites.pb.h"
#include "validation/validator.h"

namespace {
std::atomic<int64_t> allocations = 0;
}

// Every heap allocation of this program is counted. Not inlined, or g++ sees malloc's memory freed
// by what it takes for the default operator delete, and warns.
[[gnu::noinline]] void* operator new(size_t size) {
  allocations.fetch_add(1, std::memory_order_relaxed);
  if (void* memory = std::malloc(size)) return memory;
  throw std::bad_alloc();
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, size_t) noexcept { std::free(memory); }

namespace energysites {
namespace {

v1::LiveDataEntry ValidEntry() {
  v1::LiveDataEntry entry;
  entry.set_site_id(7);
  entry.mutable_dt_stamp()->set_seconds(1464739200);
  entry.set_soc(55.5);
  entry.set_load_kwh(0.31);
  entry.set_net_load_kwh(0.12);
  entry.set_pv_notification(true);
  entry.set_bio_notification(false);
  entry.set_cro_notification(false);
  return entry;
}

// Validates `message` over and over. Fails if it is not valid, or if that allocated.
void Validate(benchmark::State& state, const google::protobuf::Message& message) {
  const Validator validator = *Validator::Compile(*message.GetDescriptor());
  if (!validator.Validate(message).empty()) return state.SkipWithError("not valid");
  const int64_t before = allocations;
  if (before == 0) return state.SkipWithError("allocations are not counted");
  for (auto _ : state) benchmark::DoNotOptimize(validator.Validate(message).empty());
  const int64_t made = allocations - before;
  state.counters["allocations"] = static_cast<double>(made);
  if (made != 0) state.SkipWithError("a valid message made validation allocate");
}

void BM_LiveDataEntry(benchmark::State& state) { Validate(state, ValidEntry()); }
BENCHMARK(BM_LiveDataEntry);

void BM_CreateSiteRequest(benchmark::State& state) {
  v1::CreateSiteRequest request;
  request.mutable_site()->set_name("Lindenhof");
  request.mutable_site()->set_location("Lindenstr. 4, 10969 Berlin");
  request.set_request_id("6f1c2a4e-8b3d-4c5f-9a7e-0d1b2c3e4f50");
  Validate(state, request);
}
BENCHMARK(BM_CreateSiteRequest);

void BM_UpdateSiteRequest(benchmark::State& state) {
  v1::UpdateSiteRequest request;
  request.mutable_site()->set_id(7);
  request.mutable_site()->set_name("Lindenhof");
  request.mutable_update_mask()->add_paths("name");
  Validate(state, request);
}
BENCHMARK(BM_UpdateSiteRequest);

void BM_BatchOf10000(benchmark::State& state) {
  v1::BatchCreateLiveDataEntriesRequest request;
  for (int i = 0; i < 10'000; ++i) *request.add_entries() = ValidEntry();
  Validate(state, request);
}
BENCHMARK(BM_BatchOf10000)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace energysites

BENCHMARK_MAIN();
