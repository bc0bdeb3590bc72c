// The callers of the benchmark: makes one kind of load on a server and prints what came of it as
// JSON. tests/bench/run starts it; --help=bench lists the flags.
#include <atomic>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <iostream>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/flags/usage.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "energysites/v1/live_data.pb.h"
#include "grpcpp/support/byte_buffer.h"
#include "tests/bench/entries.h"
#include "tests/bench/result.h"
#include "tests/bench/stream_load.h"
#include "tests/bench/unary_load.h"

ABSL_FLAG(std::string, target, "", "host:port of the server");
ABSL_FLAG(std::string, mode, "", "create, empty, get, list, batch, aggregate, ingest or export");
ABSL_FLAG(int, callers, 1, "unary calls at once");
ABSL_FLAG(int, channels, 4, "connections");
ABSL_FLAG(int, threads, 1, "threads that call");
ABSL_FLAG(absl::Duration, warm_up, absl::ZeroDuration(), "time before unary calls are counted");
ABSL_FLAG(absl::Duration, duration, absl::Seconds(1), "time in which unary calls are counted");
ABSL_FLAG(int, sites, 1000, "sites 1 to this report");
ABSL_FLAG(std::string, keys, "", "get: file of lines `site_id id`");
ABSL_FLAG(int64_t, rows, 0, "batch, ingest: rows in all");
ABSL_FLAG(int, rows_per_batch, 1000, "batch, ingest: rows in each message");
ABSL_FLAG(std::string, session, "", "ingest: the session's name");
ABSL_FLAG(int64_t, site, 0, "aggregate: whose entries");
ABSL_FLAG(absl::Time, start, absl::UnixEpoch(), "where the range begins; of the first row");
ABSL_FLAG(absl::Time, end, absl::UnixEpoch(), "where the range ends");

namespace energysites::bench {
namespace {

constexpr int kPageSize = 100;

template <class Message>
grpc::ByteBuffer Bytes(const Message& message) {
  const grpc::Slice slice(message.SerializeAsString());
  return grpc::ByteBuffer(&slice, 1);
}

int64_t MicrosecondsOf(absl::Time time) { return absl::ToUnixMicros(time); }

// All sites report together once a minute.
int64_t StepMicroseconds() { return 60'000'000 / absl::GetFlag(FLAGS_sites); }

MakeRequest CreateRequests(Entries entries) {
  return [entries, request = v1::CreateLiveDataEntryRequest()]() mutable {
    entries.Fill(MicrosecondsOf(absl::Now()), *request.mutable_live_data_entry());
    return Bytes(request);
  };
}

// Rows in the order of time, whichever thread sends them.
MakeRequest BatchRequests(Entries entries) {
  static std::atomic<int64_t> next_row = 0;
  const int rows = absl::GetFlag(FLAGS_rows_per_batch);
  return
      [entries, rows, first_us = MicrosecondsOf(absl::GetFlag(FLAGS_start)),
       step_us = StepMicroseconds(), request = v1::BatchCreateLiveDataEntriesRequest()]() mutable {
        request.clear_entries();
        const int64_t first_row = next_row.fetch_add(rows);
        for (int64_t row = first_row; row < first_row + rows; ++row) {
          entries.Fill(first_us + row * step_us, *request.add_entries());
        }
        return Bytes(request);
      };
}

MakeRequest GetRequests(Entries entries) {
  std::vector<std::pair<int64_t, int64_t>> keys;
  std::ifstream file(absl::GetFlag(FLAGS_keys));
  for (int64_t site_id, id; file >> site_id >> id;) keys.emplace_back(site_id, id);
  if (keys.empty()) {
    std::cerr << "no keys in --keys\n";
    std::exit(1);
  }
  return [entries, keys = std::move(keys), request = v1::GetLiveDataEntryRequest()]() mutable {
    const auto& [site_id, id] = keys[entries.random()() % keys.size()];
    request.set_site_id(site_id);
    request.set_id(id);
    return Bytes(request);
  };
}

MakeRequest ListRequests(Entries entries) {
  return [entries, request = v1::ListLiveDataEntriesRequest()]() mutable {
    request.set_site_id(entries.RandomSite());
    request.set_page_size(kPageSize);
    return Bytes(request);
  };
}

MakeRequest AggregateRequests() {
  v1::AggregateLiveDataRequest request;
  request.add_site_ids(absl::GetFlag(FLAGS_site));
  request.mutable_start_time()->set_seconds(absl::ToUnixSeconds(absl::GetFlag(FLAGS_start)));
  request.mutable_end_time()->set_seconds(absl::ToUnixSeconds(absl::GetFlag(FLAGS_end)));
  request.set_bucket("day");
  request.set_time_zone("Europe/Berlin");
  return [bytes = Bytes(request)] { return bytes; };
}

Result RunUnaryMode(const std::string& mode) {
  UnaryLoad load;
  load.target = absl::GetFlag(FLAGS_target);
  load.callers = absl::GetFlag(FLAGS_callers);
  load.channels = absl::GetFlag(FLAGS_channels);
  load.threads = absl::GetFlag(FLAGS_threads);
  load.warm_up = absl::GetFlag(FLAGS_warm_up);
  load.duration = absl::GetFlag(FLAGS_duration);
  const auto run = [&](const std::string& method, auto make) {
    load.method = method;
    return Run(load, [&](int /*thread*/) {
      return make(Entries(absl::GetFlag(FLAGS_sites), std::random_device()()));
    });
  };
  const std::string live_data = "/energysites.v1.LiveData/";
  if (mode == "create") return run(live_data + "CreateLiveDataEntry", CreateRequests);
  // The requests of a create and of a get, to a method that does nothing.
  const std::string empty = "/energysites.bench.Empty/Call";
  if (mode == "empty") {
    return absl::GetFlag(FLAGS_keys).empty() ? run(empty, CreateRequests) : run(empty, GetRequests);
  }
  if (mode == "get") return run(live_data + "GetLiveDataEntry", GetRequests);
  if (mode == "list") return run(live_data + "ListLiveDataEntries", ListRequests);
  if (mode == "aggregate") {
    return run(live_data + "AggregateLiveData", [](const Entries&) { return AggregateRequests(); });
  }
  const int rows_per_batch = absl::GetFlag(FLAGS_rows_per_batch);
  load.calls = absl::GetFlag(FLAGS_rows) / rows_per_batch;
  Result result = run(live_data + "BatchCreateLiveDataEntries", BatchRequests);
  result.done *= rows_per_batch;
  return result;
}

Result RunMode(const std::string& mode) {
  const std::string target = absl::GetFlag(FLAGS_target);
  const int64_t start_us = MicrosecondsOf(absl::GetFlag(FLAGS_start));
  if (mode == "ingest") {
    IngestLoad load;
    load.session = absl::GetFlag(FLAGS_session);
    load.rows = absl::GetFlag(FLAGS_rows);
    load.rows_per_batch = absl::GetFlag(FLAGS_rows_per_batch);
    load.first_stamp_us = start_us;
    load.step_us = StepMicroseconds();
    return Ingest(target, load, Entries(absl::GetFlag(FLAGS_sites), std::random_device()()));
  }
  if (mode == "export") return Export(target, start_us, MicrosecondsOf(absl::GetFlag(FLAGS_end)));
  return RunUnaryMode(mode);
}

int Main(int argc, char** argv) {
  absl::SetProgramUsageMessage("makes load on a server and prints what came of it as JSON");
  absl::ParseCommandLine(argc, argv);
  // As the server does: what a check of gRPC's locks costs is not what is measured.
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
  std::cout << RunMode(absl::GetFlag(FLAGS_mode)).Json() << "\n";
  return 0;
}

}  // namespace
}  // namespace energysites::bench

int main(int argc, char** argv) { return energysites::bench::Main(argc, argv); }
