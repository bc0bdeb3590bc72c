// The wrapper of every unary call: parses and validates the request, runs the handler on the
// executor, answers, logs and counts.
#ifndef SERVICES_RPC_UNARY_CALL_H_
#define SERVICES_RPC_UNARY_CALL_H_

#include <functional>
#include <memory>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "grpcpp/impl/codegen/proto_utils.h"
#include "grpcpp/server_context.h"
#include "grpcpp/support/byte_buffer.h"
#include "grpcpp/support/server_callback.h"
#include "services/admission/request_admission.h"
#include "services/admission/subject_quota.h"
#include "services/errors/errors.h"
#include "services/operations/call_observer.h"
#include "services/rpc/service_context.h"
#include "storage/errors/errors.h"
#include "storage/inserts/batcher.h"
#include "storage/postgres/executor.h"
#include "storage/postgres/session.h"

namespace energysites {

// Whether a request is a batch of entries.
template <class Request, class = void>
struct IsBatch : std::false_type {};
template <class Request>
struct IsBatch<Request, std::void_t<decltype(std::declval<Request>().entries_size())>>
    : std::true_type {};

// A unary rpc. Shared by all its calls, and outlives them.
template <class Request, class Response>
class UnaryMethod {
 public:
  // Runs on an executor's thread with a valid request, except for the faults in `tolerated`.
  using Handler = std::function<absl::StatusOr<Response>(storage::Session&, const Request&,
                                                         const EntryFaults& tolerated)>;
  // Whether the handler answers faults of single entries itself.
  using Tolerance = std::function<bool(const Request&)>;

  UnaryMethod(ServiceContext& context, const std::string& service, const std::string& name,
              RequestAdmission admission, Handler handler, Tolerance tolerance)
      : executor_(context.executor),
        untaken_answers_(context.untaken_answers),
        admission_(std::move(admission)),
        handler_(std::move(handler)),
        tolerance_(std::move(tolerance)),
        observer_(context.metrics, "unary", service, name) {
    if constexpr (IsBatch<Request>::value) batch_entries_ = &observer_.BatchEntries();
  }

  // Answers many requests with one query, each with its own result, in order. Requests whose result
  // is storage::Unfinished are passed to the handler, one by one.
  using ManyHandler = std::function<std::vector<absl::StatusOr<Response>>(
      storage::Session&, const std::vector<const Request*>&)>;

  // Runs concurrent calls in batches, which take calls of different keys in turns. To be called
  // before the first call.
  void EnableBatching(const storage::BatcherOptions& options, ManyHandler handler,
                      std::function<int64_t(const Request&)> fairness_key);

  // Starts a call, which deletes itself when done.
  grpc::ServerUnaryReactor* Start(grpc::CallbackServerContext* context,
                                  const grpc::ByteBuffer* request, grpc::ByteBuffer* response) {
    return new Call(*this, context, request, response);
  }

 private:
  class Call;

  static bool HasList(const google::protobuf::Descriptor& message) {
    for (int i = 0; i < message.field_count(); ++i) {
      if (message.field(i)->is_repeated()) return true;
    }
    return false;
  }

  storage::Executor& executor_;
  SubjectQuota& untaken_answers_;
  const bool answers_lists_ = HasList(*Response::descriptor());
  const RequestAdmission admission_;
  const Handler handler_;
  const Tolerance tolerance_;
  MethodObserver observer_;
  prometheus::Histogram* batch_entries_ = nullptr;  // Of a batch.
  std::function<int64_t(const Request&)> fairness_key_;
  std::unique_ptr<storage::Batcher> batcher_;  // Null if each call runs alone.
};

template <class Request, class Response>
class UnaryMethod<Request, Response>::Call final : public grpc::ServerUnaryReactor,
                                                   public storage::Job,
                                                   public storage::BatchItem {
 public:
  Call(UnaryMethod& method, grpc::CallbackServerContext* context, const grpc::ByteBuffer* request,
       grpc::ByteBuffer* response)
      : method_(method),
        context_(context),
        observer_(method.observer_, *context),
        response_(response) {
    const absl::Status accepted = Accept(*request);
    if (!accepted.ok()) Answer(accepted);
  }

  void Run(storage::Session& session) override {
    if (method_.answers_lists_) {
      const absl::Status room = method_.untaken_answers_.CheckRoom(caller_.subject);
      if (!room.ok()) return Answer(room);
    }
    const absl::StatusOr<Response> result = method_.handler_(session, request_, tolerated_);
    if (storage::IsUnfinished(result.status())) return method_.executor_.Requeue(this);
    Answer(result);
  }

  // Takes the result of the batch.
  void Complete(const absl::StatusOr<Response>& result) {
    if (!storage::IsUnfinished(result.status())) return Answer(result);
    const absl::Status submitted = method_.executor_.SubmitAdmitted(this);
    if (!submitted.ok()) Answer(submitted);
  }

  const Request& request() const { return request_; }
  absl::string_view Owner() const override { return caller_.subject; }
  int64_t FairnessKey() const override { return method_.fairness_key_(request_); }
  void Drop(absl::Status why) override { Answer(why); }
  // The client cancelled the call, or its deadline passed.
  void OnCancel() override {
    if (method_.batcher_ != nullptr) method_.batcher_->Cancel(this);
    method_.executor_.Cancel(this);
  }
  void OnDone() override { delete this; }

 private:
  absl::Status Accept(grpc::ByteBuffer request) {
    absl::StatusOr<Caller> caller = method_.admission_.Identify(*context_);
    if (!caller.ok()) return caller.status();
    caller_ = *std::move(caller);
    const absl::Status parsed = method_.admission_.Parse(&request, &request_, method_.observer_);
    if (!parsed.ok()) return parsed;
    if constexpr (IsBatch<Request>::value) method_.batch_entries_->Observe(request_.entries_size());
    absl::StatusOr<EntryFaults> tolerated =
        method_.admission_.Check(request_, caller_, method_.observer_,
                                 method_.tolerance_ != nullptr && method_.tolerance_(request_));
    if (!tolerated.ok()) return tolerated.status();
    tolerated_ = *std::move(tolerated);
    if (method_.batcher_ != nullptr) return method_.batcher_->Add(this);
    return method_.executor_.Submit(this);
  }

  void Answer(const absl::StatusOr<Response>& result) {
    if (!result.ok()) return Answer(result.status());
    bool own_buffer;
    const grpc::Status written =
        grpc::SerializationTraits<Response>::Serialize(*result, response_, &own_buffer);
    if (method_.answers_lists_) {
      untaken_ = method_.untaken_answers_.Hold(caller_.subject, response_->Length());
    }
    Answer(written.ok() ? absl::OkStatus() : absl::InternalError(written.error_message()));
  }

  void Answer(const absl::Status& status) {
    observer_.Done(status);
    Finish(ToGrpc(status, *context_));
  }

  UnaryMethod& method_;
  grpc::CallbackServerContext* const context_;
  CallObserver observer_;
  grpc::ByteBuffer* const response_;
  Caller caller_;
  Request request_;
  EntryFaults tolerated_;
  std::unique_ptr<SubjectQuota::Holding> untaken_;
};

template <class Request, class Response>
void UnaryMethod<Request, Response>::EnableBatching(
    const storage::BatcherOptions& options, ManyHandler handler,
    std::function<int64_t(const Request&)> fairness_key) {
  fairness_key_ = std::move(fairness_key);
  batcher_ = std::make_unique<storage::Batcher>(
      executor_, options,
      [handler = std::move(handler), &shared_query_calls = observer_.SharedQueryCalls()](
          storage::Session& session, const storage::Batcher::Batch& batch) {
        shared_query_calls.Observe(static_cast<double>(batch.size()));
        std::vector<const Request*> requests;
        requests.reserve(batch.size());
        for (storage::BatchItem* item : batch) {
          requests.push_back(&static_cast<Call*>(item)->request());
        }
        auto results = handler(session, requests);
        return [batch, results = std::move(results)] {
          for (size_t i = 0; i < batch.size(); ++i) {
            static_cast<Call*>(batch[i])->Complete(results[i]);
          }
        };
      });
}

}  // namespace energysites

#endif  // SERVICES_RPC_UNARY_CALL_H_
