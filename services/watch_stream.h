// WatchLiveData: sends on what the feed of live data tells.
#ifndef SERVICES_WATCH_STREAM_H_
#define SERVICES_WATCH_STREAM_H_

#include <string>

#include "grpcpp/server_context.h"
#include "grpcpp/support/byte_buffer.h"
#include "grpcpp/support/server_callback.h"
#include "services/call_observer.h"
#include "services/gate.h"
#include "services/service_context.h"
#include "services/stream_places.h"

namespace energysites {

// The rpc. Shared by all its streams, and outlives them. A stream holds no thread.
class WatchMethod {
 public:
  WatchMethod(ServiceContext& context, const std::string& service, const std::string& name,
              Gate gate);

  // Starts a stream, which deletes itself when done.
  grpc::ServerWriteReactor<grpc::ByteBuffer>* Start(grpc::CallbackServerContext* context,
                                                    const grpc::ByteBuffer* request);

 private:
  class Stream;

  storage::Executor& executor_;
  storage::LiveDataFeed& feed_;
  Draining& draining_;
  const Gate gate_;
  StreamPlaces places_;
  MethodObserver observer_;
};

}  // namespace energysites

#endif  // SERVICES_WATCH_STREAM_H_
