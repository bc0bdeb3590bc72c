// WatchLiveData: streams the entries of the live data feed to clients.
#ifndef SERVICES_LIVE_DATA_WATCH_STREAM_H_
#define SERVICES_LIVE_DATA_WATCH_STREAM_H_

#include <string>

#include "grpcpp/server_context.h"
#include "grpcpp/support/byte_buffer.h"
#include "grpcpp/support/server_callback.h"
#include "services/admission/request_admission.h"
#include "services/admission/subject_quota.h"
#include "services/operations/call_observer.h"
#include "services/rpc/service_context.h"

namespace energysites {

// The method. Shared by all its streams and outlives them. A stream does not occupy a thread.
class WatchMethod {
 public:
  WatchMethod(ServiceContext& context, const std::string& service, const std::string& name,
              RequestAdmission admission);

  // Starts a stream, which deletes itself when done.
  grpc::ServerWriteReactor<grpc::ByteBuffer>* Start(grpc::CallbackServerContext* context,
                                                    const grpc::ByteBuffer* request);

 private:
  class Stream;

  storage::Executor& executor_;
  storage::LiveDataFeed& feed_;
  Draining& draining_;
  const RequestAdmission admission_;
  SubjectQuota streams_;
  MethodObserver observer_;
};

}  // namespace energysites

#endif  // SERVICES_LIVE_DATA_WATCH_STREAM_H_
