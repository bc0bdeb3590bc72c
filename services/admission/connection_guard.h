// Cuts off clients that take memory which gRPC does not bound.
#ifndef SERVICES_ADMISSION_CONNECTION_GUARD_H_
#define SERVICES_ADMISSION_CONNECTION_GUARD_H_

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "prometheus/counter.h"
#include "prometheus/registry.h"

namespace energysites {

// gRPC 1.51 counts messages against its quota, but neither calls that were taken back before the
// server came to them nor headers that never end. While the process takes much memory, this resets
// the TCP connections of clients that do what those hardly do that keep to the server's limits:
//
//   - Calls taken back: by all such clients together more than a thousand in a second, while not
//     one in ten of each brings its message or comes to its end (rapid reset). Calls that end by
//     their deadline have brought their message.
//   - Unfinished messages or headers, which are what a client sent since its last whole message:
//     more than twice the largest messages of all its calls; or, of clients with fewer whole
//     messages than calls, the most while they have more together than there is room for
//     (CONTINUATION flood, messages without their end).
//
// It knows the bytes on the wire, not what gRPC makes of them: headers of one byte, calls that are
// left open by the ten thousand and floods beside other calls pass it. Those are Envoy's to keep
// away. The counts of calls and messages are those of gRPC's channelz, which the server must have
// enabled.
class ConnectionGuard {
 public:
  struct Limits {
    size_t memory_bytes = 0;  // Of the process. While it takes less, nobody is cut off.
    int64_t calls_of_connection = 0;
    int64_t message_bytes = 0;
    int64_t unfinished_bytes = 0;  // Of all connections.
  };
  struct Socket {
    int descriptor = 0;
    uint64_t number = 0;  // Never given twice, as descriptors are.
  };
  // Called on the guard's thread.
  using OnCut = std::function<void(const std::string& client, const char* reason)>;

  // Has a thread of its own. The registry outlives it.
  ConnectionGuard(const Limits& limits, OnCut on_cut, prometheus::Registry& registry);
  ~ConnectionGuard();
  ConnectionGuard(const ConnectionGuard&) = delete;
  ConnectionGuard& operator=(const ConnectionGuard&) = delete;

 private:
  // What there is to remember of a connection.
  struct Seen {
    int64_t progress = 0;        // Whole messages, and calls that came to their end.
    int64_t received_bytes = 0;  // When `progress` last changed, or there were no calls.
    // At the start of the period.
    int64_t progress_before = 0;
    int64_t taken_back_before = 0;
  };
  struct Suspect {
    std::string client;
    Socket socket;
  };

  void Watch();
  // Returns whether somebody may be flooding.
  bool Look(bool may_cut, bool period_ends);
  void CutOff(const std::vector<Suspect>& suspects, const char* reason);

  const Limits limits_;
  const OnCut on_cut_;
  prometheus::Counter& cut_;
  std::map<uint64_t, Seen> seen_;  // By the number of the socket.
  std::mutex mutex_;
  std::condition_variable stop_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace energysites

#endif  // SERVICES_ADMISSION_CONNECTION_GUARD_H_
