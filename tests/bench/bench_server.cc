// energy-sites serve, with one more method that does nothing: what a unary call costs by itself.
#include <iostream>

#include "energysites/v1/live_data.pb.h"
#include "grpcpp/grpcpp.h"
#include "grpcpp/impl/codegen/server_callback_handlers.h"
#include "services/operations/log.h"
#include "services/server/options.h"
#include "services/server/server.h"

namespace energysites::bench {
namespace {

// Answers any bytes with those of a stored entry, the size that CreateLiveDataEntry and
// GetLiveDataEntry answer with.
class EmptyService : public grpc::Service {
 public:
  EmptyService() {
    using grpc::ByteBuffer;
    AddMethod(new grpc::internal::RpcServiceMethod("/energysites.bench.Empty/Call",
                                                   grpc::internal::RpcMethod::NORMAL_RPC, nullptr));
    MarkMethodRawCallback(0, new grpc::internal::CallbackUnaryHandler<ByteBuffer, ByteBuffer>(
                                 [this](grpc::CallbackServerContext* context,
                                        const ByteBuffer* /*request*/, ByteBuffer* response) {
                                   *response = answer_;
                                   grpc::ServerUnaryReactor* const reactor =
                                       context->DefaultReactor();
                                   reactor->Finish(grpc::Status::OK);
                                   return reactor;
                                 }));
  }

 private:
  static grpc::ByteBuffer StoredEntry() {
    v1::LiveDataEntry entry;
    entry.set_id(int64_t{24'000} << 46);
    entry.set_site_id(500);
    entry.mutable_dt_stamp()->set_seconds(1'700'000'000);
    entry.mutable_dt_stamp()->set_nanos(123'456'000);
    entry.set_soc(50.5);
    entry.set_load_kwh(0.31);
    entry.set_net_load_kwh(0.12);
    entry.set_pv_notification(true);
    entry.set_bio_notification(false);
    entry.set_cro_notification(false);
    *entry.mutable_create_time() = entry.dt_stamp();
    const grpc::Slice slice(entry.SerializeAsString());
    return grpc::ByteBuffer(&slice, 1);
  }

  const grpc::ByteBuffer answer_ = StoredEntry();
};

int Main(int argc, char** argv) {
  ParseFlags(argc, argv);
  const absl::StatusOr<ServerOptions> options = ServerOptionsFromFlags();
  if (!options.ok()) {
    std::cerr << "bench_server: " << options.status().message() << "\n";
    return 1;
  }
  StartLog(spdlog::level::info);
  EmptyService empty;
  const absl::Status status = Serve(*options, {&empty});
  FlushLog();
  if (status.ok()) return 0;
  std::cerr << "bench_server: " << status.message() << "\n";
  return 1;
}

}  // namespace
}  // namespace energysites::bench

int main(int argc, char** argv) { return energysites::bench::Main(argc, argv); }
