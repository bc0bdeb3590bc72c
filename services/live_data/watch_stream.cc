#include "services/live_data/watch_stream.h"

#include <algorithm>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <unordered_set>
#include <utility>
#include <vector>

#include "energysites/v1/live_data.pb.h"
#include "google/protobuf/wrappers.pb.h"
#include "services/errors/errors.h"
#include "services/rpc/page_token.h"
#include "storage/live_data/live_data_summaries.h"

namespace energysites {

using storage::WatchAnswer;
using storage::WatchEnd;
using storage::WatchPosition;
using storage::WatchQueue;
using v1::WatchLiveDataRequest;
using v1::WatchLiveDataResponse;

namespace {

// The part of a token that identifies its owner; empty if callers have no subject.
std::vector<int64_t> OwnerKey(const Caller& caller) {
  if (caller.subject.empty()) return {};
  google::protobuf::StringValue subject;
  subject.set_value(caller.subject);
  return {Fingerprint(subject)};
}

}  // namespace

// Checks that the sites exist in a job of the executor, then watches. The queue serializes its
// calls of Send and End.
class WatchMethod::Stream final : public grpc::ServerWriteReactor<grpc::ByteBuffer>,
                                  public storage::Job,
                                  public storage::WatchListener {
 public:
  Stream(WatchMethod& method, grpc::CallbackServerContext* context, const grpc::ByteBuffer& request)
      : method_(method), context_(context), observer_(method.observer_, *context) {
    const absl::Status accepted = Accept(request);
    if (!accepted.ok()) Finish(accepted);
  }

  void Run(storage::Session& session) override {
    Checked(storage::LiveDataSummaryRepository(session).CheckSites(sites_));
  }
  void Drop(absl::Status why) override { Checked(why); }
  absl::string_view Owner() const override { return subject_; }

  void Send(WatchAnswer answer) override {
    WatchLiveDataResponse rest;
    rest.set_resume_token(TokenOf(answer.position));
    rest.AppendToString(&answer.entries);
    const grpc::Slice slice(answer.entries);
    answer_ = grpc::ByteBuffer(&slice, 1);
    StartWrite(&answer_);
  }

  // The status is sent after a pending write, so a client that receives it has all responses.
  void End(WatchEnd why, const WatchPosition& last_answer) override {
    switch (why) {
      case WatchEnd::kCancelled:
        return Finish(absl::CancelledError("call cancelled by the client"));
      case WatchEnd::kDraining:
        return Finish(ShuttingDown());
      case WatchEnd::kTooSlow:
        return Finish(ReaderTooSlow(TokenOf(last_answer)));
      case WatchEnd::kUnknownPosition:
        return Finish(BadResumeToken());
    }
  }

  void Cut() override { context_->TryCancel(); }

  void OnWriteDone(bool ok) override {
    const std::shared_ptr<WatchQueue> queue = Queue();
    if (!ok) return queue->End(WatchEnd::kCancelled);
    queue->Sent(WatchQueue::Clock::now());
    if (queue->IsBehind()) method_.feed_.Wake();
  }

  void OnCancel() override {
    std::shared_ptr<WatchQueue> queue;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      cancelled_ = true;
      queue = queue_;
    }
    if (queue != nullptr) return queue->End(WatchEnd::kCancelled);
    method_.executor_.Cancel(this);
  }

  void OnDone() override {
    const std::shared_ptr<WatchQueue> queue = Queue();  // Blocks while Begin runs.
    draining_.reset();
    if (queue != nullptr) method_.feed_.Remove(queue);
    delete this;
  }

 private:
  absl::Status Accept(grpc::ByteBuffer bytes) {
    WatchLiveDataRequest request;
    const auto caller = method_.admission_.Admit(*context_, &bytes, &request, method_.observer_);
    if (!caller.ok()) return caller.status();
    const absl::Status room = method_.streams_.Take(DeviceOf(*caller), holding_);
    if (!room.ok()) return room;

    // The fingerprint does not depend on order or duplicates of the sites.
    const std::set<int64_t> sites(request.site_ids().begin(), request.site_ids().end());
    sites_.assign(sites.begin(), sites.end());
    WatchLiveDataRequest watched;
    for (const int64_t site : sites) watched.add_site_ids(site);
    fingerprint_ = Fingerprint(watched);
    owner_ = OwnerKey(*caller);
    subject_ = caller->subject;

    // The sites existed when the token was issued. If one of them was deleted later, the stream
    // continues with the others.
    if (!request.resume_token().empty()) {
      const auto token = ReadPageToken(request.resume_token(), 2 + owner_.size());
      if (!token.ok()) return BadResumeToken();
      const std::vector<int64_t>& key = token->last_key;
      // Check the owner first, so that the error does not reveal the sites of another caller's
      // token.
      if (!std::equal(owner_.begin(), owner_.end(), key.begin() + 2)) return ResumeTokenNotFound();
      if (token->fingerprint != fingerprint_) return BadResumeToken();
      return Begin(WatchPosition{static_cast<uint64_t>(key[0]), key[1]});
    }
    if (sites_.empty()) return Begin(std::nullopt);
    return method_.executor_.Submit(this);
  }

  void Checked(absl::Status status) {
    if (status.ok()) status = Begin(std::nullopt);
    if (!status.ok()) Finish(status);
  }

  absl::Status Begin(std::optional<WatchPosition> resume) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (cancelled_) return absl::CancelledError("call cancelled by the client");
    // From here on the thread of the feed may call this object.
    auto queue = method_.feed_.Add(this, {sites_.begin(), sites_.end()}, resume);
    if (!queue.ok()) return queue.status();
    queue_ = *std::move(queue);
    draining_ = method_.draining_.Subscribe([queue = queue_] { queue->End(WatchEnd::kDraining); });
    return absl::OkStatus();
  }

  std::shared_ptr<WatchQueue> Queue() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return queue_;
  }

  std::string TokenOf(const WatchPosition& position) const {
    std::vector<int64_t> key = {static_cast<int64_t>(position.xid), position.id};
    key.insert(key.end(), owner_.begin(), owner_.end());
    return EncodePageToken(fingerprint_, key);
  }

  void Finish(const absl::Status& status) {
    observer_.Done(status);
    // Before the client gets the status, because it may start the next stream at once.
    holding_.reset();
    ServerWriteReactor::Finish(ToGrpc(status, *context_));
  }

  WatchMethod& method_;
  grpc::CallbackServerContext* const context_;
  CallObserver observer_;
  uint32_t fingerprint_ = 0;
  std::vector<int64_t> owner_;
  std::string subject_;
  std::vector<int64_t> sites_;
  std::unique_ptr<SubjectQuota::Holding> holding_;
  grpc::ByteBuffer answer_;
  std::mutex mutex_;
  bool cancelled_ = false;
  std::shared_ptr<WatchQueue> queue_;  // Null until the sites are checked.
  std::unique_ptr<Draining::Subscription> draining_;
};

WatchMethod::WatchMethod(ServiceContext& context, const std::string& service,
                         const std::string& name, RequestAdmission admission)
    : executor_(context.executor),
      feed_(context.live_data_feed),
      draining_(context.draining),
      admission_(std::move(admission)),
      streams_(StreamQuota(feed_.max_watchers(), feed_.max_watchers() / 10)),
      observer_(context.metrics, "server_stream", service, name) {}

grpc::ServerWriteReactor<grpc::ByteBuffer>* WatchMethod::Start(grpc::CallbackServerContext* context,
                                                               const grpc::ByteBuffer* request) {
  return new Stream(*this, context, *request);
}

}  // namespace energysites
