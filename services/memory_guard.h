// Keeps the process's memory within bounds where gRPC does not.
#ifndef SERVICES_MEMORY_GUARD_H_
#define SERVICES_MEMORY_GUARD_H_

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <thread>

#include "prometheus/counter.h"
#include "prometheus/registry.h"

namespace energysites {

// gRPC 1.51 counts messages against its quota, but neither headers nor calls that were taken back
// before the server came to them: a client that sends those faster than they are handled may take
// any amount of memory. While the process takes more than `most_bytes` and its memory grows, this
// resets the TCP connections that sent most and were answered least, so that calls which are
// answered are left alone. What it frees goes back once gRPC has come to it.
class MemoryGuard {
 public:
  // Has a thread of its own. `port` is where clients connect. `on_cut` is called on that thread,
  // with the address and port of the client and what it had sent beyond its answers. The registry
  // outlives it.
  MemoryGuard(int port, size_t most_bytes,
              std::function<void(const std::string& client, int64_t unanswered_bytes)> on_cut,
              prometheus::Registry& registry);
  ~MemoryGuard();
  MemoryGuard(const MemoryGuard&) = delete;
  MemoryGuard& operator=(const MemoryGuard&) = delete;

 private:
  // What a connection had received beyond what it had sent, by its number in the system.
  using UnansweredBytes = std::map<uint64_t, int64_t>;

  void Watch();
  void CutSenders();
  void Remember();

  const int port_;
  const size_t most_bytes_;
  const std::function<void(const std::string&, int64_t)> on_cut_;
  prometheus::Counter& cut_;
  UnansweredBytes remembered_;  // As it was some seconds ago.
  std::mutex mutex_;
  std::condition_variable stop_;
  bool stopping_ = false;
  std::thread thread_;
};

// The memory that this process takes, in bytes; 0 if it cannot be read.
size_t ResidentBytes();

}  // namespace energysites

#endif  // SERVICES_MEMORY_GUARD_H_
