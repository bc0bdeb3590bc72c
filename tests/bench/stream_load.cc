#include "tests/bench/stream_load.h"

#include <algorithm>
#include <memory>
#include <thread>

#include "absl/time/clock.h"
#include "energysites/v1/live_data.grpc.pb.h"
#include "google/protobuf/io/coded_stream.h"
#include "google/protobuf/wire_format_lite.h"
#include "grpcpp/grpcpp.h"
#include "grpcpp/support/proto_buffer_reader.h"

namespace energysites::bench {
namespace {

using google::protobuf::internal::WireFormatLite;

std::shared_ptr<grpc::Channel> NewChannel(const std::string& target) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(-1);
  return grpc::CreateCustomChannel(target, grpc::InsecureChannelCredentials(), arguments);
}

// How many entries an ExportLiveDataResponse holds, without making objects of them; -1 if it is
// none or its own count is another.
int64_t CountEntries(grpc::ByteBuffer* message) {
  grpc::ProtoBufferReader bytes(message);
  google::protobuf::io::CodedInputStream input(&bytes);
  int64_t found = 0;
  uint32_t said = 0;
  while (const uint32_t tag = input.ReadTag()) {
    const int field = WireFormatLite::GetTagFieldNumber(tag);
    if (field == v1::ExportLiveDataResponse::kEntryCountFieldNumber) {
      if (!input.ReadVarint32(&said)) return -1;
      continue;
    }
    if (field == v1::ExportLiveDataResponse::kLiveDataEntriesFieldNumber) ++found;
    if (!WireFormatLite::SkipField(&input, tag)) return -1;
  }
  return found == said ? found : -1;
}

}  // namespace

Result Ingest(const std::string& target, const IngestLoad& load, Entries entries) {
  Result result;
  const auto stub = v1::LiveData::NewStub(NewChannel(target));
  grpc::ClientContext context;
  const absl::Time start = absl::Now();
  const auto stream = stub->IngestLiveData(&context);
  const int64_t batches = (load.rows + load.rows_per_batch - 1) / load.rows_per_batch;
  v1::IngestLiveDataRequest hello;
  hello.mutable_start()->set_session(load.session);
  stream->Write(hello);
  std::thread writer([&] {
    v1::IngestLiveDataRequest request;
    int64_t row = 0;
    for (int64_t sequence = 1; sequence <= batches; ++sequence) {
      v1::IngestBatch& batch = *request.mutable_batch();
      batch.clear_entries();
      batch.set_sequence(sequence);
      const int64_t end = std::min(load.rows, row + load.rows_per_batch);
      for (; row < end; ++row) {
        entries.Fill(load.first_stamp_us + row * load.step_us, *batch.add_entries());
      }
      // False if the stream has ended: Finish says why.
      if (!stream->Write(request)) return;
    }
    stream->WritesDone();
  });
  v1::IngestLiveDataResponse answer;
  int64_t refused = 0;
  while (stream->Read(&answer)) {
    for (const v1::RefusedEntries& batch : answer.refused()) refused += batch.failed_count();
    if (answer.committed_sequence() == batches) {
      result.done = answer.stored_entries();
      result.time = absl::Now() - start;
    }
  }
  writer.join();
  if (result.Check(stream->Finish()) && (result.done != load.rows || refused != 0)) {
    result.Check({grpc::StatusCode::DATA_LOSS, "not all rows were stored"});
  }
  return result;
}

Result Export(const std::string& target, int64_t start_us, int64_t end_us) {
  constexpr int64_t kMicroseconds = 1'000'000;
  v1::ExportLiveDataRequest request;
  request.mutable_start_time()->set_seconds(start_us / kMicroseconds);
  request.mutable_end_time()->set_seconds(end_us / kMicroseconds);
  grpc::ByteBuffer bytes;
  bool own_buffer;
  grpc::SerializationTraits<v1::ExportLiveDataRequest>::Serialize(request, &bytes, &own_buffer);
  Result result;
  const auto channel = NewChannel(target);
  grpc::ClientContext context;
  const absl::Time start = absl::Now();
  const std::unique_ptr<grpc::ClientReader<grpc::ByteBuffer>> stream(
      grpc::internal::ClientReaderFactory<grpc::ByteBuffer>::Create(
          channel.get(),
          grpc::internal::RpcMethod("/energysites.v1.LiveData/ExportLiveData",
                                    grpc::internal::RpcMethod::SERVER_STREAMING, channel),
          &context, bytes));
  grpc::ByteBuffer message;
  while (stream->Read(&message)) {
    const int64_t entries = CountEntries(&message);
    if (entries < 0) result.Check({grpc::StatusCode::DATA_LOSS, "entry_count is wrong"});
    result.done += entries;
  }
  result.Check(stream->Finish());
  result.time = absl::Now() - start;
  return result;
}

}  // namespace energysites::bench
