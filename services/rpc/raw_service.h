// A gRPC service whose methods use the wrappers of this folder.
#ifndef SERVICES_RPC_RAW_SERVICE_H_
#define SERVICES_RPC_RAW_SERVICE_H_

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "google/protobuf/descriptor.h"
#include "services/rpc/server_stream.h"
#include "services/rpc/unary_call.h"

namespace energysites {

// For calls that read by key. Larger batches are not faster.
inline const storage::BatcherOptions kManyReads = {/*max_batch_size=*/256,
                                                   /*max_concurrent_batches=*/2,
                                                   /*queue_limit=*/4000};

// `Contract` is a generated service class such as v1::Sites. Methods are registered as raw methods,
// which receive the serialized request: for a request that cannot be parsed, gRPC itself would
// return UNIMPLEMENTED without a message.
template <class Contract>
class RawService : public Contract::Service {
 public:
  // The errors in the rules that the requests declare. The server must not start if it is not OK.
  const absl::Status& status() const { return status_; }

 protected:
  explicit RawService(ServiceContext& context) : context_(context) {}

  // Serves the method `name` with `handler` (storage::Session&, const Request& ->
  // StatusOr<Response>). Here and below, `sites_path` is that of SiteScope::Compile.
  template <class Request, class Response, class Handler>
  void Serve(const std::string& name, const std::string& sites_path, Handler handler) {
    Register<Request, Response>(
        name, sites_path, nullptr,
        [handler](storage::Session& session, const Request& request, const EntryFaults&) {
          return handler(session, request);
        });
  }

  // As Serve, for a handler that reports violations in entries itself if `tolerance` returns true.
  template <class Request, class Response>
  void ServeWithTolerance(const std::string& name, const std::string& sites_path,
                          typename UnaryMethod<Request, Response>::Tolerance tolerance,
                          typename UnaryMethod<Request, Response>::Handler handler) {
    Register<Request, Response>(name, sites_path, std::move(tolerance), std::move(handler));
  }

  // Serves `name` with a handler for several concurrent requests. Requests that it leaves
  // storage::Unfinished are passed to `handler`, which may be null if there are none.
  template <class Request, class Response>
  void ServeBatched(const std::string& name, const std::string& sites_path,
                    const storage::BatcherOptions& options,
                    std::function<int64_t(const Request&)> fairness_key,
                    typename UnaryMethod<Request, Response>::ManyHandler many_handler,
                    std::function<absl::StatusOr<Response>(storage::Session&, const Request&)>
                        handler = nullptr) {
    auto method = Register<Request, Response>(
        name, sites_path, nullptr,
        [handler](storage::Session& session, const Request& request, const EntryFaults&) {
          return handler(session, request);
        });
    if (method != nullptr) {
      method->EnableBatching(options, std::move(many_handler), std::move(fairness_key));
    }
  }

  // Serves `name` with `handler`, which streams responses from the database.
  template <class Request>
  void ServeStream(const std::string& name, const std::string& sites_path,
                   typename ServerStreamMethod<Request>::Handler handler) {
    ServeAnswers<ServerStreamMethod<Request>, Request>(name, sites_path, std::move(handler));
  }

  // Serves the server-streaming method `name` with the class Method, such as WatchMethod. `rest`
  // are the last arguments of its constructor.
  template <class Method, class Request, class... Rest>
  void ServeAnswers(const std::string& name, const std::string& sites_path, Rest... rest) {
    using grpc::ByteBuffer;
    auto method = Make<Method, Request>(name, sites_path, std::move(rest)...);
    if (method == nullptr) return;
    this->MarkMethodRawCallback(
        IndexOf(name),
        new grpc::internal::CallbackServerStreamingHandler<ByteBuffer, ByteBuffer>(
            [method](grpc::CallbackServerContext* context, const ByteBuffer* request) {
              return method->Start(context, request);
            }));
  }

  // Serves the bidirectional method `name` with the class Method, such as IngestMethod. `rest` are
  // the last arguments of its constructor.
  template <class Method, class Request, class... Rest>
  void ServeBidi(const std::string& name, const std::string& sites_path, Rest... rest) {
    using grpc::ByteBuffer;
    auto method = Make<Method, Request>(name, sites_path, std::move(rest)...);
    if (method == nullptr) return;
    this->MarkMethodRawCallback(
        IndexOf(name),
        new grpc::internal::CallbackBidiHandler<ByteBuffer, ByteBuffer>(
            [method](grpc::CallbackServerContext* context) { return method->Start(context); }));
  }

  // The index of the method in the service, as MarkMethodRawCallback expects it.
  static int IndexOf(const std::string& name) {
    return google::protobuf::DescriptorPool::generated_pool()
        ->FindServiceByName(Contract::service_full_name())
        ->FindMethodByName(name)
        ->index();
  }

  ServiceContext& context() { return context_; }

 private:
  // Returns null and updates status() if the request declares invalid rules.
  template <class Method, class Request, class... Rest>
  std::shared_ptr<Method> Make(const std::string& name, const std::string& sites_path,
                               Rest... rest) {
    absl::StatusOr<RequestAdmission> admission =
        RequestAdmission::Compile(*Request::descriptor(), sites_path, context_.identity_source);
    if (!admission.ok()) {
      status_.Update(admission.status());
      return nullptr;
    }
    return std::make_shared<Method>(context_, Contract::service_full_name(), name,
                                    *std::move(admission), std::move(rest)...);
  }

  template <class Request, class Response>
  std::shared_ptr<UnaryMethod<Request, Response>> Register(
      const std::string& name, const std::string& sites_path,
      typename UnaryMethod<Request, Response>::Tolerance tolerance,
      typename UnaryMethod<Request, Response>::Handler handler) {
    using grpc::ByteBuffer;
    auto method = Make<UnaryMethod<Request, Response>, Request>(
        name, sites_path, std::move(handler), std::move(tolerance));
    if (method == nullptr) return nullptr;
    this->MarkMethodRawCallback(
        IndexOf(name),
        new grpc::internal::CallbackUnaryHandler<ByteBuffer, ByteBuffer>(
            [method](grpc::CallbackServerContext* context, const ByteBuffer* request,
                     ByteBuffer* response) { return method->Start(context, request, response); }));
    return method;
  }

  ServiceContext& context_;
  absl::Status status_;
};

}  // namespace energysites

#endif  // SERVICES_RPC_RAW_SERVICE_H_
