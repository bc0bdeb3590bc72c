// Forgets the request_ids that are older than the service promises to remember them.
#ifndef SERVICES_REQUEST_EXPIRY_H_
#define SERVICES_REQUEST_EXPIRY_H_

#include <condition_variable>
#include <mutex>
#include <thread>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "storage/executor.h"

namespace energysites {

// Looks when it is made and every hour from then on, sooner after a failure. Several processes may
// do so on one database.
class RequestExpiry : private storage::Job {
 public:
  // `executor` outlives it.
  RequestExpiry(storage::Executor& executor, absl::Duration ttl);
  ~RequestExpiry() override;

 private:
  void Run(storage::Session& session) override;
  void Drop(absl::Status why) override;
  void Finish(const absl::Status& status);
  void Repeat();

  storage::Executor& executor_;
  const absl::Duration ttl_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool stopping_ = false;
  bool under_way_ = false;
  bool failed_ = false;
  std::thread thread_;
};

}  // namespace energysites

#endif  // SERVICES_REQUEST_EXPIRY_H_
