#include "tests/bench/unary_load.h"

#include <algorithm>
#include <atomic>
#include <memory>
#include <optional>
#include <thread>
#include <vector>

#include "absl/time/clock.h"
#include "grpcpp/generic/generic_stub.h"
#include "grpcpp/grpcpp.h"

namespace energysites::bench {
namespace {

// A call that takes longer ends the run: nothing here takes half as long.
constexpr absl::Duration kLongestCall = absl::Seconds(60);

// When to count, and when to stop; shared by all threads.
struct Schedule {
  explicit Schedule(const UnaryLoad& load)
      : first(absl::Now() + (load.calls > 0 ? absl::ZeroDuration() : load.warm_up)),
        last(load.calls > 0 ? absl::InfiniteFuture() : first + load.duration),
        calls_left(load.calls > 0 ? load.calls : INT64_MAX) {}

  bool MayStart() {
    return absl::Now() < last && calls_left.fetch_sub(1, std::memory_order_relaxed) > 0;
  }

  const absl::Time first, last;
  std::atomic<int64_t> calls_left;
};

// One caller: its present call.
struct Caller {
  std::unique_ptr<grpc::GenericStub> stub;
  std::optional<grpc::ClientContext> context;
  std::unique_ptr<grpc::GenericClientAsyncResponseReader> reader;
  grpc::ByteBuffer response;
  grpc::Status status;
  absl::Time start;

  void Call(const std::string& method, const grpc::ByteBuffer& request,
            grpc::CompletionQueue* queue) {
    start = absl::Now();
    context.emplace();
    reader = stub->PrepareUnaryCall(&*context, method, request, queue);
    reader->StartCall();
    reader->Finish(&response, &status, this);
  }
};

std::shared_ptr<grpc::Channel> NewChannel(const std::string& target, int number) {
  grpc::ChannelArguments arguments;
  // Channels with the same arguments would share one connection.
  arguments.SetInt("bench.channel", number);
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  arguments.SetMaxReceiveMessageSize(-1);
  return grpc::CreateCustomChannel(target, grpc::InsecureChannelCredentials(), arguments);
}

// The callers of one thread, with a completion queue of their own.
Result RunThread(const UnaryLoad& load, const std::vector<std::unique_ptr<Caller>>& callers,
                 const MakeRequest& make_request, Schedule& schedule) {
  Result result;
  grpc::CompletionQueue queue;
  size_t calling = 0;
  const auto call = [&](Caller& caller) {
    if (!schedule.MayStart()) return;
    caller.Call(load.method, make_request(), &queue);
    ++calling;
  };
  for (const auto& caller : callers) call(*caller);
  void* tag = nullptr;
  bool ok = false;
  while (calling > 0) {
    const auto limit = absl::ToChronoTime(absl::Now() + kLongestCall);
    if (queue.AsyncNext(&tag, &ok, limit) != grpc::CompletionQueue::GOT_EVENT) {
      result.Check({grpc::StatusCode::DEADLINE_EXCEEDED, "no call was answered for a minute"});
      for (const auto& caller : callers) {
        if (caller->context.has_value()) caller->context->TryCancel();
      }
      continue;
    }
    --calling;
    Caller& caller = *static_cast<Caller*>(tag);
    const absl::Time end = absl::Now();
    if (!result.Check(caller.status)) continue;
    if (end >= schedule.first && end < schedule.last) {
      ++result.done;
      result.latencies_us.push_back(
          static_cast<float>(absl::ToDoubleMicroseconds(end - caller.start)));
    }
    call(caller);
  }
  result.time = std::min(absl::Now(), schedule.last) - schedule.first;
  queue.Shutdown();
  while (queue.Next(&tag, &ok)) {
  }
  return result;
}

}  // namespace

Result Run(const UnaryLoad& load, const std::function<MakeRequest(int thread)>& make_requests) {
  std::vector<std::shared_ptr<grpc::Channel>> channels;
  for (int i = 0; i < std::min(load.channels, load.callers); ++i) {
    channels.push_back(NewChannel(load.target, i));
    channels.back()->WaitForConnected(absl::ToChronoTime(absl::Now() + kLongestCall));
  }
  const int threads = std::min<int>(load.threads, channels.size());
  // A thread has its own channels, so that threads do not wait for each other's connections.
  std::vector<std::vector<std::unique_ptr<Caller>>> callers(threads);
  for (int i = 0; i < load.callers; ++i) {
    const size_t channel = i % channels.size();
    auto caller = std::make_unique<Caller>();
    caller->stub = std::make_unique<grpc::GenericStub>(channels[channel]);
    callers[channel % threads].push_back(std::move(caller));
  }
  Schedule schedule(load);
  std::vector<Result> results(threads);
  std::vector<std::thread> running;
  for (int i = 0; i < threads; ++i) {
    running.emplace_back(
        [&, i] { results[i] = RunThread(load, callers[i], make_requests(i), schedule); });
  }
  for (std::thread& thread : running) thread.join();
  Result total;
  for (Result& result : results) total.Merge(std::move(result));
  return total;
}

}  // namespace energysites::bench
