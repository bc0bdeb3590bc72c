// IngestLiveData: reads batches, stores them concurrently, commits them in order, and acknowledges
// the committed ones.
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
#include "storage/inserts/shared_insert_state.h"

namespace energysites {

// The rpc. Shared by all its streams, and outlives them.
class IngestMethod {
 public:
  using Reactor = grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>;

  IngestMethod(ServiceContext& context, const std::string& service, const std::string& name,
               RequestAdmission admission,
               std::shared_ptr<storage::SharedInsertState> insert_state);

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
  const std::shared_ptr<storage::SharedInsertState> insert_state_;
  MethodObserver observer_;
  prometheus::Histogram& batch_entries_;
  SubjectQuota streams_;
};

}  // namespace energysites

#endif  // SERVICES_LIVE_DATA_INGEST_STREAM_H_
