#include "storage/inserts/batcher.h"

#include <algorithm>
#include <utility>

#include "storage/errors/errors.h"

namespace energysites::storage {

Batcher::Batcher(Executor& executor, const BatcherOptions& options, Ride ride)
    : executor_(executor), options_(options), ride_(std::move(ride)) {
  for (int i = 0; i <= options_.concurrent_rides; ++i) {
    turns_.push_back(std::make_unique<Turn>(*this));
  }
}

Batcher::~Batcher() {
  std::unique_lock<std::mutex> lock(mutex_);
  idle_.wait(lock, [this] {
    return std::all_of(turns_.begin(), turns_.end(), [](const auto& turn) { return turn->idle; });
  });
}

absl::Status Batcher::Add(Rider* rider) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (rider->cancelled_) return absl::CancelledError("call cancelled by the client");
  if (waiting_count_ >= options_.queue_limit) return QueueFull();
  std::deque<Rider*>& of_key = waiting_[rider->FairnessKey()];
  if (of_key.empty()) keys_.push_back(rider->FairnessKey());
  of_key.push_back(rider);
  rider->waiting_ = true;
  ++waiting_count_;
  const absl::Status sent = Send();
  // Others that wait have a turn under way, which looks after them.
  if (!sent.ok()) Forget(rider);
  return sent;
}

void Batcher::Cancel(Rider* rider) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    rider->cancelled_ = true;
    if (!rider->waiting_) return;
    Forget(rider);
  }
  rider->Drop(absl::CancelledError("call cancelled by the client"));
}

absl::Status Batcher::Send() {
  if (waiting_count_ == 0 || rides_ >= options_.concurrent_rides) return absl::OkStatus();
  const auto turn =
      std::find_if(turns_.begin(), turns_.end(), [](const auto& t) { return t->idle; });
  // Else the first that is done with telling its outcome goes again.
  if (turn == turns_.end()) return absl::OkStatus();
  const absl::Status submitted = executor_.SubmitAdmitted(turn->get());
  if (!submitted.ok()) return submitted;
  (*turn)->idle = false;
  ++rides_;
  return absl::OkStatus();
}

void Batcher::Take(Turn& turn, Session& session) {
  std::unique_lock<std::mutex> lock(mutex_);
  const std::vector<Rider*> riders = Board();
  lock.unlock();
  std::function<void()> tell;
  if (!riders.empty()) tell = ride_(session, riders);
  lock.lock();
  --rides_;
  const absl::Status next = Send();
  if (!next.ok()) DropAll(lock, next);
  lock.unlock();
  if (tell != nullptr) tell();
  lock.lock();
  turn.idle = true;
  const absl::Status sent = Send();
  if (!sent.ok()) {
    // Not idle before the last rider was told: the destructor may follow at once.
    turn.idle = false;
    DropAll(lock, sent);
    turn.idle = true;
  }
  idle_.notify_all();
}

void Batcher::TurnBack(Turn& turn, const absl::Status& why) {
  std::unique_lock<std::mutex> lock(mutex_);
  --rides_;
  DropAll(lock, why);
  turn.idle = true;
  idle_.notify_all();
}

void Batcher::DropAll(std::unique_lock<std::mutex>& lock, const absl::Status& why) {
  std::vector<Rider*> dropped;
  for (auto& [key, riders] : waiting_) {
    for (Rider* rider : riders) {
      rider->waiting_ = false;
      dropped.push_back(rider);
    }
  }
  waiting_.clear();
  keys_.clear();
  waiting_count_ = 0;
  lock.unlock();
  for (Rider* rider : dropped) rider->Drop(why);
  lock.lock();
}

std::vector<Rider*> Batcher::Board() {
  std::vector<Rider*> riders;
  while (waiting_count_ > 0 && riders.size() < options_.most_riders) {
    const int64_t key = keys_.front();
    keys_.pop_front();
    const auto of_key = waiting_.find(key);
    riders.push_back(of_key->second.front());
    of_key->second.pop_front();
    riders.back()->waiting_ = false;
    --waiting_count_;
    if (of_key->second.empty()) {
      waiting_.erase(of_key);
    } else {
      keys_.push_back(key);
    }
  }
  return riders;
}

void Batcher::Forget(Rider* rider) {
  const int64_t key = rider->FairnessKey();
  const auto of_key = waiting_.find(key);
  auto& riders = of_key->second;
  riders.erase(std::find(riders.begin(), riders.end(), rider));
  rider->waiting_ = false;
  --waiting_count_;
  if (!riders.empty()) return;
  waiting_.erase(of_key);
  keys_.erase(std::find(keys_.begin(), keys_.end(), key));
}

}  // namespace energysites::storage
