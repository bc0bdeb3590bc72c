// The wrapper of every method that streams responses from the database. It admits the request, runs
// the handler on the executor for streams, writes responses with back-pressure, logs and counts.
#ifndef SERVICES_RPC_SERVER_STREAM_H_
#define SERVICES_RPC_SERVER_STREAM_H_

#include <chrono>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "grpc/grpc.h"
#include "grpcpp/server_context.h"
#include "grpcpp/support/byte_buffer.h"
#include "grpcpp/support/server_callback.h"
#include "services/admission/request_admission.h"
#include "services/admission/subject_quota.h"
#include "services/errors/errors.h"
#include "services/operations/call_observer.h"
#include "services/rpc/service_context.h"
#include "storage/postgres/executor.h"
#include "storage/postgres/session.h"

namespace energysites {

// Writes the responses of a handler. To be used on the handler's thread.
class StreamWriter {
 public:
  // Sets a response header; only before the first Write.
  virtual void AddHeader(const std::string& name, const std::string& value) = 0;

  // Writes one serialized response. Blocks until the previous response is written, so at most two
  // are in memory. Returns CANCELLED if the call was cancelled, and RESOURCE_EXHAUSTED if the
  // client read nothing for ServiceContext::export_stall_timeout. The handler must then return that
  // status.
  virtual absl::Status Write(grpc::ByteBuffer answer) = 0;

 protected:
  ~StreamWriter() = default;
};

// A server-streaming method. Shared by all its calls and outlives them.
template <class Request>
class ServerStreamMethod {
 public:
  // Runs on a thread of the executor with a valid request, and returns the status of the call.
  using Handler = std::function<absl::Status(storage::Session&, const Request&, StreamWriter&)>;

  ServerStreamMethod(ServiceContext& context, const std::string& service, const std::string& name,
                     RequestAdmission admission, Handler handler)
      : executor_(context.export_executor),
        stall_timeout_(absl::ToChronoMilliseconds(context.export_stall_timeout)),
        admission_(std::move(admission)),
        handler_(std::move(handler)),
        streams_(context.export_streams),
        observer_(context.metrics, "server_stream", service, name) {}

  // Starts a call, which deletes itself when done.
  grpc::ServerWriteReactor<grpc::ByteBuffer>* Start(grpc::CallbackServerContext* context,
                                                    const grpc::ByteBuffer* request) {
    return new Call(*this, context, *request);
  }

 private:
  class Call;

  storage::Executor& executor_;
  const std::chrono::milliseconds stall_timeout_;
  const RequestAdmission admission_;
  const Handler handler_;
  SubjectQuota& streams_;
  MethodObserver observer_;
};

template <class Request>
class ServerStreamMethod<Request>::Call final : public grpc::ServerWriteReactor<grpc::ByteBuffer>,
                                                public storage::Job,
                                                public StreamWriter {
 public:
  Call(ServerStreamMethod& method, grpc::CallbackServerContext* context, grpc::ByteBuffer request)
      : method_(method), context_(context), observer_(method.observer_, *context) {
    const absl::Status accepted = Accept(std::move(request));
    if (!accepted.ok()) End(accepted);
  }

  void Run(storage::Session& session) override { End(method_.handler_(session, request_, *this)); }
  void Drop(absl::Status why) override { End(why); }

  void AddHeader(const std::string& name, const std::string& value) override {
    context_->AddInitialMetadata(name, value);
  }

  absl::Status Write(grpc::ByteBuffer answer) override {
    const absl::Status ready = WaitForWrite();
    if (!ready.ok()) return ready;
    answer_.Swap(&answer);
    SetWriting(true);
    this->StartWrite(&answer_);
    return absl::OkStatus();
  }

  void OnWriteDone(bool ok) override {
    if (!ok) SetCancelled();
    SetWriting(false);
  }

  // The client cancelled the call, its connection was lost, or its deadline passed.
  void OnCancel() override {
    SetCancelled();
    method_.executor_.Cancel(this);
  }

  void OnDone() override { delete this; }

 private:
  absl::Status Accept(grpc::ByteBuffer request) {
    const auto caller = method_.admission_.Admit(*context_, &request, &request_, method_.observer_);
    if (!caller.ok()) return caller.status();
    const absl::Status room = method_.streams_.Take(DeviceOf(*caller), holding_);
    return room.ok() ? method_.executor_.Submit(this) : room;
  }

  void SetWriting(bool writing) {
    const std::lock_guard<std::mutex> lock(mutex_);
    writing_ = writing;
    changed_.notify_one();
  }

  void SetCancelled() {
    const std::lock_guard<std::mutex> lock(mutex_);
    cancelled_ = true;
    changed_.notify_one();
  }

  absl::Status WaitForWrite() {
    std::unique_lock<std::mutex> lock(mutex_);
    const auto over = [this] { return !writing_ || cancelled_; };
    if (!stalled_) stalled_ = !changed_.wait_for(lock, method_.stall_timeout_, over);
    if (cancelled_) return absl::CancelledError("call cancelled by the client");
    return stalled_ ? ReaderTooSlow() : absl::OkStatus();
  }

  // Aborts the pending write, for which Finish would wait. Unlike TryCancel, sends the code and
  // message of `why` instead of CANCELLED, without details.
  void Abort(const absl::Status& why) {
    const grpc::Status status = ToGrpc(why);
    grpc_call_cancel_with_status(context_->c_call(),
                                 static_cast<grpc_status_code>(status.error_code()),
                                 status.error_message().c_str(), nullptr);
  }

  void End(absl::Status status) {
    const absl::Status written = WaitForWrite();
    if (status.ok()) status = written;
    // Before the client gets the status, because it may start the next stream at once.
    holding_.reset();
    if (!written.ok()) Abort(written);
    {
      std::unique_lock<std::mutex> lock(mutex_);
      changed_.wait(lock, [this] { return !writing_; });
    }
    observer_.Done(status);
    this->Finish(ToGrpc(status, *context_));
  }

  ServerStreamMethod& method_;
  grpc::CallbackServerContext* const context_;
  CallObserver observer_;
  Request request_;
  std::unique_ptr<SubjectQuota::Holding> holding_;
  std::mutex mutex_;
  std::condition_variable changed_;
  bool cancelled_ = false;
  bool writing_ = false;
  bool stalled_ = false;
  grpc::ByteBuffer answer_;
};

}  // namespace energysites

#endif  // SERVICES_RPC_SERVER_STREAM_H_
