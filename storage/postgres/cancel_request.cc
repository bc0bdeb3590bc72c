#include "storage/postgres/cancel_request.h"

#include <atomic>
#include <system_error>
#include <thread>

namespace energysites::storage {
namespace {

// The number of requests in progress in this process.
std::atomic<int> requests_under_way = 0;
constexpr int kMaxRequests = 64;

}  // namespace

std::shared_ptr<CancelRequest> CancelRequest::Send(PGconn* connection) {
  const std::shared_ptr<PGcancel> cancel(PQgetCancel(connection), PQfreeCancel);
  if (cancel == nullptr) return nullptr;
  if (requests_under_way.fetch_add(1) >= kMaxRequests) {
    --requests_under_way;
    return nullptr;
  }
  std::shared_ptr<CancelRequest> request(new CancelRequest);
  try {
    std::thread([request, cancel] {
      char ignored[256];
      PQcancel(cancel.get(), ignored, sizeof(ignored));
      --requests_under_way;
      request->Finish();
    }).detach();
  } catch (const std::system_error&) {
    --requests_under_way;
    return nullptr;
  }
  return request;
}

bool CancelRequest::done() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return done_;
}

bool CancelRequest::Wait() const {
  std::unique_lock<std::mutex> lock(mutex_);
  return changed_.wait_for(lock, kTimeout, [this] { return done_; });
}

void CancelRequest::Finish() {
  const std::lock_guard<std::mutex> lock(mutex_);
  done_ = true;
  changed_.notify_all();
}

}  // namespace energysites::storage
