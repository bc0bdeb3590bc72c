// A request to the database to cancel the query that runs on a connection.
#ifndef STORAGE_POSTGRES_CANCEL_REQUEST_H_
#define STORAGE_POSTGRES_CANCEL_REQUEST_H_

#include <libpq-fe.h>

#include <chrono>
#include <condition_variable>
#include <memory>
#include <mutex>

namespace energysites::storage {

// libpq's PQcancel waits without a limit for a database that accepts the connection and does not
// answer. So each request runs on its own thread, which shutdown does not wait for, and a request
// that hangs delays no other one. All methods may be called from any thread.
class CancelRequest {
 public:
  // Sends a request for `connection`, which must be open. Does not block. Returns null where no
  // request can be sent, for example because too many of this process hang already.
  static std::shared_ptr<CancelRequest> Send(PGconn* connection);

  // Whether the request is over: a later query on the connection cannot be stopped by it.
  bool done() const;

  // Waits until the request is over; returns false if it is not after kTimeout.
  bool Wait() const;
  static constexpr std::chrono::seconds kTimeout{1};

 private:
  CancelRequest() = default;
  void Finish();

  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  bool done_ = false;
};

}  // namespace energysites::storage

#endif  // STORAGE_POSTGRES_CANCEL_REQUEST_H_
