#include "clients/cli/ingest.h"

#include <condition_variable>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>

namespace energysites {
namespace {

using Stream = grpc::ClientReaderWriter<v1::IngestLiveDataRequest, v1::IngestLiveDataResponse>;

// Enough that the service does not wait for this client.
constexpr size_t kMaxUnacknowledged = 8;

// Reads the responses of a stream on its own thread, independently of the writes.
class ResponseReader {
 public:
  explicit ResponseReader(Stream& stream)
      : thread_([this, &stream] {
          v1::IngestLiveDataResponse answer;
          while (stream.Read(&answer)) {
            const std::lock_guard<std::mutex> lock(mutex_);
            responses_.push_back(std::move(answer));
            changed_.notify_one();
          }
          const std::lock_guard<std::mutex> lock(mutex_);
          finished_ = true;
          changed_.notify_one();
        }) {}
  // Blocks until the stream ends.
  ~ResponseReader() { thread_.join(); }

  // Returns the next response, if there is one. With `wait`, blocks until there is one; returns
  // nothing if the stream has ended.
  std::optional<v1::IngestLiveDataResponse> Next(bool wait) {
    std::unique_lock<std::mutex> lock(mutex_);
    if (wait) changed_.wait(lock, [this] { return finished_ || !responses_.empty(); });
    if (responses_.empty()) return std::nullopt;
    v1::IngestLiveDataResponse answer = std::move(responses_.front());
    responses_.pop_front();
    return answer;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<v1::IngestLiveDataResponse> responses_;
  bool finished_ = false;
  std::thread thread_;
};

// The state of a session across its streams.
class Session {
 public:
  Session(const Connection& connection, const std::string& name, const IngestCallbacks& callbacks)
      : connection_(connection), name_(name), callbacks_(callbacks) {}

  // Runs one stream from its start to its end. Sets `progress` if a batch was acknowledged.
  grpc::Status Run(grpc::ClientContext& context, bool& progress) {
    const std::unique_ptr<Stream> stream = connection_.live_data().IngestLiveData(&context);
    {
      ResponseReader responses(*stream);
      SendBatches(*stream, responses, progress);
      // Read to the end instead of cancelling, which would hide the status of the stream.
      while (responses.Next(/*wait=*/true).has_value()) continue;
    }
    return stream->Finish();
  }

 private:
  // Returns when everything is stored or the stream has ended.
  void SendBatches(Stream& stream, ResponseReader& responses, bool& progress) {
    v1::IngestLiveDataRequest start;
    start.mutable_start()->set_session(name_);
    start.mutable_start()->set_acknowledged_sequence(acknowledged_);
    if (!stream.Write(start)) return;
    const auto first = responses.Next(/*wait=*/true);
    if (!first.has_value()) return;
    if (next_sequence_ == 0) {
      // Batches of earlier runs are not batches of `callbacks_`.
      acknowledged_ = first->committed_sequence();
      next_sequence_ = acknowledged_ + 1;
    }
    HandleResponse(*first);
    for (const v1::IngestLiveDataRequest& request : unacknowledged_) {
      if (!stream.Write(request)) return;
    }
    while (true) {
      const bool full = ended_ || unacknowledged_.size() == kMaxUnacknowledged;
      if (ended_ && unacknowledged_.empty()) {
        stream.WritesDone();
        return;
      }
      if (const auto response = responses.Next(/*wait=*/full)) {
        HandleResponse(*response);
        progress = true;
        continue;
      }
      if (full) return;
      std::optional<v1::IngestBatch> batch = callbacks_.next();
      ended_ = !batch.has_value();
      if (ended_) continue;
      batch->set_sequence(next_sequence_++);
      *unacknowledged_.emplace_back().mutable_batch() = *std::move(batch);
      if (!stream.Write(unacknowledged_.back())) return;
    }
  }

  void HandleResponse(const v1::IngestLiveDataResponse& response) {
    std::map<int64_t, v1::RefusedEntries> refused;
    for (const v1::RefusedEntries& batch : response.refused()) refused[batch.sequence()] = batch;
    while (acknowledged_ < response.committed_sequence() && !unacknowledged_.empty()) {
      ++acknowledged_;
      unacknowledged_.pop_front();
      callbacks_.stored(refused[acknowledged_]);
    }
  }

  const Connection& connection_;
  const std::string& name_;
  const IngestCallbacks& callbacks_;
  std::deque<v1::IngestLiveDataRequest> unacknowledged_;
  int64_t acknowledged_ = 0;
  int64_t next_sequence_ = 0;  // 0 until the session is open.
  bool ended_ = false;         // Whether `next` has returned nothing.
};

}  // namespace

absl::Status Ingest(const Connection& connection, const std::string& name,
                    const IngestCallbacks& callbacks) {
  Session session(connection, name, callbacks);
  bool progress;
  grpc::Status ended;
  do {
    const grpc::Status called = connection.Call([&](grpc::ClientContext& context) {
      progress = false;
      ended = session.Run(context, progress);
      // After progress the retry timeout starts again.
      return progress ? grpc::Status::OK : ended;
    });
    if (!called.ok()) return ToAbslStatus(called, "the entries cannot be stored");
  } while (IsRetryable(ended));
  return ended.ok() ? absl::OkStatus() : ToAbslStatus(ended, "the entries cannot be stored");
}

}  // namespace energysites
