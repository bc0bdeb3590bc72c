// IngestLiveData: reads batches, has them stored side by side and committed in order, and
// acknowledges what is committed.
#ifndef SERVICES_LIVE_DATA_INGEST_STREAM_H_
#define SERVICES_LIVE_DATA_INGEST_STREAM_H_

#include <memory>
#include <string>

#include "grpcpp/server_context.h"
#include "grpcpp/support/byte_buffer.h"
#include "grpcpp/support/server_callback.h"
#include "services/admission/request_admission.h"
#include "services/admission/subject_quota.h"
#include "services/operations/call_observer.h"
#include "services/rpc/service_context.h"
#include "storage/inserts/live_data_allocator.h"

namespace energysites {

// The rpc. Shared by all its streams, and outlives them.
class IngestMethod {
 public:
  using Reactor = grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>;

  IngestMethod(ServiceContext& context, const std::string& service, const std::string& name,
               RequestAdmission admission, std::shared_ptr<storage::LiveDataAllocator> allocator);

  // Starts a stream, which deletes itself when done.
  Reactor* Start(grpc::CallbackServerContext* context);

 private:
  class Stream;
  class Opening;
  class Batch;

  storage::Executor& executor_;
  storage::LiveDataFeed& feed_;
  Draining& draining_;
  const RequestAdmission admission_;
  const std::shared_ptr<storage::LiveDataAllocator> allocator_;
  MethodObserver observer_;
  prometheus::Histogram& batch_entries_;
  SubjectQuota streams_;
};

}  // namespace energysites

#endif  // SERVICES_LIVE_DATA_INGEST_STREAM_H_
