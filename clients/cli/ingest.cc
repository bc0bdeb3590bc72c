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

// Enough that the service never waits for us.
constexpr size_t kMaxUnacknowledged = 8;

// Reads a stream on a thread of its own, so that answers never wait for a batch to be sent.
class Answers {
 public:
  explicit Answers(Stream& stream)
      : thread_([this, &stream] {
          v1::IngestLiveDataResponse answer;
          while (stream.Read(&answer)) {
            const std::lock_guard<std::mutex> lock(mutex_);
            answers_.push_back(std::move(answer));
            changed_.notify_one();
          }
          const std::lock_guard<std::mutex> lock(mutex_);
          over_ = true;
          changed_.notify_one();
        }) {}
  // The stream must end.
  ~Answers() { thread_.join(); }

  // The next answer, if there is one; with `wait`, nothing means that the stream is over.
  std::optional<v1::IngestLiveDataResponse> Take(bool wait) {
    std::unique_lock<std::mutex> lock(mutex_);
    if (wait) changed_.wait(lock, [this] { return over_ || !answers_.empty(); });
    if (answers_.empty()) return std::nullopt;
    v1::IngestLiveDataResponse answer = std::move(answers_.front());
    answers_.pop_front();
    return answer;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<v1::IngestLiveDataResponse> answers_;
  bool over_ = false;
  std::thread thread_;
};

// What of a session outlives its streams.
class Session {
 public:
  Session(const Connection& connection, const std::string& name, const IngestCallbacks& callbacks)
      : connection_(connection), name_(name), callbacks_(callbacks) {}

  // One stream, from its start to its end. `progress` tells whether it was of any use.
  grpc::Status Run(grpc::ClientContext& context, bool& progress) {
    const std::unique_ptr<Stream> stream = connection_.live_data().IngestLiveData(&context);
    {
      Answers answers(*stream);
      // Ends early only when the stream is over; a cancellation would hide why.
      Converse(*stream, answers, progress);
      while (answers.Take(/*wait=*/true).has_value()) continue;
    }
    return stream->Finish();
  }

 private:
  // Returns when everything is stored, or the stream is over.
  void Converse(Stream& stream, Answers& answers, bool& progress) {
    v1::IngestLiveDataRequest hello;
    hello.mutable_start()->set_session(name_);
    hello.mutable_start()->set_acknowledged_sequence(acknowledged_);
    if (!stream.Write(hello)) return;
    const auto first = answers.Take(/*wait=*/true);
    if (!first.has_value()) return;
    if (next_sequence_ == 0) {
      // What an earlier program stored or was refused is none of ours.
      acknowledged_ = first->committed_sequence();
      next_sequence_ = acknowledged_ + 1;
    }
    Settle(*first);
    for (const v1::IngestLiveDataRequest& request : unacknowledged_) {
      if (!stream.Write(request)) return;
    }
    while (true) {
      const bool full = ended_ || unacknowledged_.size() == kMaxUnacknowledged;
      if (ended_ && unacknowledged_.empty()) {
        stream.WritesDone();
        return;
      }
      if (const auto answer = answers.Take(/*wait=*/full)) {
        Settle(*answer);
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

  void Settle(const v1::IngestLiveDataResponse& answer) {
    std::map<int64_t, v1::RefusedEntries> refused;
    for (const v1::RefusedEntries& batch : answer.refused()) refused[batch.sequence()] = batch;
    while (acknowledged_ < answer.committed_sequence() && !unacknowledged_.empty()) {
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
  bool ended_ = false;         // Whether `next` has no more.
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
      // After every step forward patience begins anew.
      return progress ? grpc::Status::OK : ended;
    });
    if (!called.ok()) return ToAbslStatus(called, "the entries cannot be stored");
  } while (MayPass(ended));
  return ended.ok() ? absl::OkStatus() : ToAbslStatus(ended, "the entries cannot be stored");
}

}  // namespace energysites
