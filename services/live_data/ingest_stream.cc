#include "services/live_data/ingest_stream.h"

#include <algorithm>
#include <deque>
#include <mutex>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "energysites/v1/live_data.pb.h"
#include "google/protobuf/arena.h"
#include "grpcpp/impl/codegen/proto_utils.h"
#include "services/errors/errors.h"
#include "services/live_data/entry_failures.h"
#include "services/rpc/request_hash.h"
#include "storage/inserts/batch_hashes.h"
#include "storage/inserts/commit_sequencer.h"
#include "storage/inserts/ingest_repository.h"

namespace energysites {
namespace {

using storage::BatchHashes;
using storage::IngestRepository;
using storage::IngestSession;

// Limits of a process: its streams, the batches that it holds, and those of one stream.
constexpr int kMaxStreams = 100;
constexpr int kMaxBatches = 32;
constexpr int kMaxBatchesOfStream = 4;

// Of a stream: while one batch commits, the rows of the next are inserted.
constexpr int kBatchesAtOnce = 2;

// A device uses one stream, and a second one after it lost its connection. Each can hold an
// incomplete message, and --memory_limit_mib has room for a limited number of those.
constexpr int kMaxStreamsOfDevice = 2;

constexpr absl::string_view kBatchPath = "batch.";

constexpr char kStartFirst[] = "must be in the first message of the stream";

constexpr size_t kArenaBlockBytes = 256 << 10;

absl::Status Invalid(const char* field, const char* rule_id, const std::string& message) {
  return InvalidRequest({{field, rule_id, message}});
}

}  // namespace

// Every event of a stream, from threads of gRPC and of the executor, changes its state under the
// lock and then calls Advance.
class IngestMethod::Stream final : public Reactor {
 public:
  Stream(IngestMethod& method, grpc::CallbackServerContext* context)
      : method_(method),
        context_(context),
        observer_(method.observer_, *context),
        caller_(method.admission_.Identify(*context)) {
    const absl::Status accepted = Accept();
    draining_ = method_.draining_.Subscribe([this] {
      std::unique_lock<std::mutex> lock(mutex_);
      End(ShuttingDown());
      Advance(lock);
    });
    std::unique_lock<std::mutex> lock(mutex_);
    if (!accepted.ok()) End(accepted);
    Advance(lock);
  }

  void OnReadDone(bool ok) override;
  void OnWriteDone(bool ok) override;
  void OnCancel() override;
  void OnDone() override;

  void Opened(absl::StatusOr<IngestRepository::Opened> opened);
  // `stored` has the refused entries, or the error if the batch was not stored.
  void Stored(std::unique_ptr<Batch> batch, absl::StatusOr<v1::RefusedEntries> stored);

  const std::string& subject() const { return caller_->subject; }
  const IngestSession& session() const { return session_; }
  storage::CommitSequencer& commits() { return commits_; }
  IngestMethod& method() { return method_; }

 private:
  absl::Status Accept();
  // With the lock held:
  absl::Status HandleMessage(std::unique_ptr<Batch> message);
  absl::Status HandleStart(const v1::IngestStart& start);
  absl::Status HandleBatch(std::unique_ptr<Batch> batch);
  // Stops reading; batches that were read are still stored. The first error is kept.
  void End(const absl::Status& status);
  // The same, but drops batches that were not submitted yet.
  void Fail(const absl::Status& status);
  // Starts the next steps. Releases `lock`; afterwards the stream may be deleted.
  void Advance(std::unique_lock<std::mutex>& lock);
  bool MayRead() const;
  bool IsOver() const;
  void WriteAcknowledgement();

  IngestMethod& method_;
  grpc::CallbackServerContext* const context_;
  CallObserver observer_;
  const absl::StatusOr<Caller> caller_;
  std::unique_ptr<SubjectQuota::Holding> holding_;
  storage::CommitSequencer commits_;

  std::mutex mutex_;
  grpc::ByteBuffer incoming_, outgoing_;
  bool reading_ = false, writing_ = false, finished_ = false;
  bool client_gone_ = false;
  // The final status, once nothing more is read.
  std::optional<absl::Status> end_;

  std::unique_ptr<Opening> opening_;
  bool open_ = false;
  IngestSession session_;      // Constant from then on.
  int64_t next_sequence_ = 0;  // Of the batch to be read.
  BatchHashes hashes_;         // Of the batches before, including those not committed yet.
  std::deque<std::unique_ptr<Batch>> waiting_;
  int running_ = 0;

  bool acknowledgement_due_ = false;
  int64_t committed_sequence_ = 0;
  int64_t stored_entries_ = 0;
  std::deque<v1::RefusedEntries> refused_;  // Not sent yet.

  std::unique_ptr<Draining::Subscription> draining_;
};

// Opens the session. Owned by its stream.
class IngestMethod::Opening final : public storage::Job {
 public:
  Opening(Stream& stream, std::string owner, v1::IngestStart start)
      : stream_(stream), owner_(std::move(owner)), start_(std::move(start)) {}

  void Run(storage::Session& session) override {
    stream_.Opened(IngestRepository(session, *stream_.method().insert_state_).Open(owner_, start_));
  }
  void Drop(absl::Status why) override { stream_.Opened(std::move(why)); }
  absl::string_view Owner() const override { return stream_.subject(); }

 private:
  Stream& stream_;
  const std::string owner_;
  const v1::IngestStart start_;
};

// A message of the client and, if it is a batch, the job that stores it. Owned by the stream until
// it is submitted, then by itself until it reports to the stream.
class IngestMethod::Batch final : public storage::Job {
 public:
  explicit Batch(Stream& stream) : stream_(stream), arena_(ArenaOptions()) {}

  // Sets the request and the errors of its entries; any other error ends the stream.
  absl::Status Parse(grpc::ByteBuffer* bytes, const Caller& caller) {
    const IngestMethod& method = stream_.method();
    const absl::Status parsed = method.admission_.Parse(bytes, request_, method.observer_);
    if (!parsed.ok()) return parsed;
    if (request_->has_batch()) method.batch_entries_.Observe(request_->batch().entries_size());
    const absl::StatusOr<EntryFaults> faults =
        method.admission_.Check(*request_, caller, method.observer_, /*tolerates_entries=*/true);
    if (!faults.ok()) return faults.status();
    failures_ = EntryFailures(*faults, kBatchPath);
    if (request_->has_batch()) {
      // ClearOutputFields takes five times as long as the hash.
      for (v1::LiveDataEntry& entry : *request_->mutable_batch()->mutable_entries()) {
        entry.clear_id();
        entry.clear_create_time();
      }
      hash_ = RequestHash(request_->batch());
    }
    return absl::OkStatus();
  }

  const v1::IngestLiveDataRequest& request() const { return *request_; }
  int64_t sequence() const { return request_->batch().sequence(); }
  const std::string& hash() const { return hash_; }
  // `hashes` are those of the batch and of the batches before it.
  void SetHashes(const BatchHashes& hashes) { hashes_ = hashes; }

  void Run(storage::Session& session) override {
    IngestRepository repository(session, *stream_.method().insert_state_);
    Report(repository.Store(stream_.session(), request_->batch(), hashes_, failures_,
                            [this] { return stream_.commits().Await(sequence()); }));
  }
  void Drop(absl::Status why) override { Report(std::move(why)); }
  absl::string_view Owner() const override { return stream_.subject(); }

 private:
  static google::protobuf::ArenaOptions ArenaOptions() {
    google::protobuf::ArenaOptions options;
    options.start_block_size = kArenaBlockBytes;
    options.max_block_size = kArenaBlockBytes;
    return options;
  }

  void Report(absl::StatusOr<v1::RefusedEntries> stored) {
    stream_.Stored(std::unique_ptr<Batch>(this), std::move(stored));
  }

  Stream& stream_;
  google::protobuf::Arena arena_;
  v1::IngestLiveDataRequest* const request_ =
      google::protobuf::Arena::CreateMessage<v1::IngestLiveDataRequest>(&arena_);
  storage::EntryErrors failures_;
  std::string hash_;
  BatchHashes hashes_;
};

absl::Status IngestMethod::Stream::Accept() {
  if (!caller_.ok()) return caller_.status();
  return method_.streams_.Take(DeviceOf(*caller_), holding_);
}

void IngestMethod::Stream::OnReadDone(bool ok) {
  std::unique_ptr<Batch> message;
  absl::Status status;
  if (ok) {
    message = std::make_unique<Batch>(*this);
    status = message->Parse(&incoming_, *caller_);
    incoming_.Clear();
  }
  std::unique_lock<std::mutex> lock(mutex_);
  reading_ = false;
  if (!ok) {
    const bool begun = open_ || opening_ != nullptr;
    End(begun ? absl::OkStatus() : Invalid("start", "start.first", kStartFirst));
  } else if (!end_.has_value()) {
    if (status.ok()) status = HandleMessage(std::move(message));
    if (!status.ok()) End(status);
  }
  Advance(lock);
}

absl::Status IngestMethod::Stream::HandleMessage(std::unique_ptr<Batch> message) {
  const v1::IngestLiveDataRequest& request = message->request();
  if (!open_) {
    if (!request.has_start()) {
      return Invalid("start", "start.first", kStartFirst);
    }
    return HandleStart(request.start());
  }
  if (request.has_start()) {
    return Invalid("start", "start.once", "must be in no other message than the first");
  }
  if (!request.has_batch()) {
    return Invalid("batch", "required", "is required in every message after the first");
  }
  return HandleBatch(std::move(message));
}

absl::Status IngestMethod::Stream::HandleStart(const v1::IngestStart& start) {
  opening_ = std::make_unique<Opening>(*this, OwnerOf(*caller_, *context_), start);
  absl::Status submitted = method_.executor_.Submit(opening_.get());
  if (!submitted.ok()) opening_.reset();
  return submitted;
}

absl::Status IngestMethod::Stream::HandleBatch(std::unique_ptr<Batch> batch) {
  if (batch->sequence() > next_sequence_) {
    return Invalid("batch.sequence", "sequence.next",
                   absl::StrCat("must be ", next_sequence_, ", the one after the last batch, not ",
                                batch->sequence()));
  }
  if (batch->sequence() < next_sequence_) {
    absl::Status repeat = hashes_.CheckRepeat(batch->sequence(), batch->hash());
    if (repeat.ok()) acknowledgement_due_ = true;
    return repeat;
  }
  hashes_.Add(batch->hash());
  batch->SetHashes(hashes_);
  ++next_sequence_;
  waiting_.push_back(std::move(batch));
  return absl::OkStatus();
}

void IngestMethod::Stream::Opened(absl::StatusOr<IngestRepository::Opened> opened) {
  std::unique_lock<std::mutex> lock(mutex_);
  opening_.reset();
  if (opened.ok()) {
    open_ = true;
    acknowledgement_due_ = true;
    session_ = std::move(opened->session);
    committed_sequence_ = opened->committed_sequence;
    next_sequence_ = committed_sequence_ + 1;
    hashes_ = std::move(opened->hashes);
    commits_.Start(committed_sequence_);
    for (auto& refused : opened->refused) refused_.push_back(std::move(refused));
  } else {
    Fail(opened.status());
  }
  Advance(lock);
}

void IngestMethod::Stream::Stored(std::unique_ptr<Batch> batch,
                                  absl::StatusOr<v1::RefusedEntries> stored) {
  const int64_t sequence = batch->sequence();
  const int entries = batch->request().batch().entries_size();
  batch.reset();
  std::unique_lock<std::mutex> lock(mutex_);
  --running_;
  if (stored.ok()) {
    method_.feed_.EntriesWritten();
    acknowledgement_due_ = true;
    committed_sequence_ = sequence;
    stored_entries_ += entries - stored->failed_count();
    if (stored->failed_count() > 0) refused_.push_back(*std::move(stored));
    commits_.Committed(sequence);
  } else {
    Fail(stored.status());
    commits_.Fail(stored.status());
  }
  Advance(lock);
}

void IngestMethod::Stream::OnWriteDone(bool ok) {
  std::unique_lock<std::mutex> lock(mutex_);
  writing_ = false;
  outgoing_.Clear();
  if (!ok) client_gone_ = true;
  Advance(lock);
}

// Submitted batches are still committed: the client can open the session again.
void IngestMethod::Stream::OnCancel() {
  std::unique_lock<std::mutex> lock(mutex_);
  client_gone_ = true;
  Fail(absl::CancelledError("call cancelled by the client"));
  Advance(lock);
}

void IngestMethod::Stream::OnDone() {
  // Waits for the listener, if that is running.
  draining_.reset();
  delete this;
}

void IngestMethod::Stream::End(const absl::Status& status) {
  if (!end_.has_value() || end_->ok()) end_ = status;
}

void IngestMethod::Stream::Fail(const absl::Status& status) {
  End(status);
  waiting_.clear();
}

bool IngestMethod::Stream::MayRead() const {
  if (end_.has_value() || reading_ || opening_ != nullptr) return false;
  const int streams = static_cast<int>(method_.streams_.held());
  const int room = std::clamp(kMaxBatches / streams, 1, kMaxBatchesOfStream);
  // Refusals that the client does not read count, too.
  return static_cast<int>(waiting_.size() + refused_.size()) + running_ < room;
}

bool IngestMethod::Stream::IsOver() const {
  return end_.has_value() && opening_ == nullptr && waiting_.empty() && running_ == 0 &&
         !writing_ && (!acknowledgement_due_ || client_gone_) && !finished_;
}

void IngestMethod::Stream::WriteAcknowledgement() {
  // Below the 4 MiB that clients accept by default, and enough for everything that an opened
  // session lists: a client continues after the committed_sequence of the first answer.
  constexpr size_t kMaxAnswerBytes = 2 << 20;
  v1::IngestLiveDataResponse answer;
  size_t bytes = 0;
  while (!refused_.empty() && bytes < kMaxAnswerBytes) {
    bytes += refused_.front().ByteSizeLong();
    *answer.add_refused() = std::move(refused_.front());
    refused_.pop_front();
  }
  // A client that has received a number has received all refusals up to it.
  acknowledgement_due_ = !refused_.empty();
  answer.set_committed_sequence(acknowledgement_due_ ? refused_.front().sequence() - 1
                                                     : committed_sequence_);
  answer.set_stored_entries(stored_entries_);
  bool own_buffer;
  grpc::SerializationTraits<v1::IngestLiveDataResponse>::Serialize(answer, &outgoing_, &own_buffer);
  writing_ = true;
  StartWrite(&outgoing_);
}

void IngestMethod::Stream::Advance(std::unique_lock<std::mutex>& lock) {
  while (!waiting_.empty() && running_ < kBatchesAtOnce) {
    const absl::Status submitted = method_.executor_.Submit(waiting_.front().get());
    if (!submitted.ok()) {
      Fail(submitted);
      break;
    }
    // The job owns itself now, and may have ended already.
    static_cast<void>(waiting_.front().release());
    waiting_.pop_front();
    ++running_;
  }
  if (acknowledgement_due_ && !writing_ && !client_gone_ && !finished_) WriteAcknowledgement();
  if (MayRead()) {
    reading_ = true;
    StartRead(&incoming_);
  }
  if (!IsOver()) return lock.unlock();
  finished_ = true;
  const absl::Status status =
      client_gone_ ? absl::CancelledError("call cancelled by the client") : *end_;
  lock.unlock();
  observer_.Done(status);
  holding_.reset();  // Before the client is answered, and can start its next stream.
  Finish(ToGrpc(status, *context_));
}

IngestMethod::IngestMethod(ServiceContext& context, const std::string& service,
                           const std::string& name, RequestAdmission admission,
                           std::shared_ptr<storage::SharedInsertState> insert_state)
    : executor_(context.ingest_executor),
      feed_(context.live_data_feed),
      draining_(context.draining),
      admission_(std::move(admission)),
      insert_state_(std::move(insert_state)),
      observer_(context.metrics, "bidi_stream", service, name),
      batch_entries_(observer_.BatchEntries()),
      streams_(StreamQuota(kMaxStreams, kMaxStreamsOfDevice)) {}

IngestMethod::Reactor* IngestMethod::Start(grpc::CallbackServerContext* context) {
  return new Stream(*this, context);
}

}  // namespace energysites
