#include "storage/watch/watch_queue.h"

#include <utility>

namespace energysites::storage {

using Lock = std::lock_guard<std::mutex>;

WatchQueue::WatchQueue(WatchListener* listener, std::unordered_set<int64_t> sites,
                       std::optional<WatchPosition> resume, const WatchQueueOptions& options)
    : sites_(std::move(sites)), options_(options), listener_(listener), resume_(resume) {}

void WatchQueue::Sent(Clock::time_point now) {
  const Lock lock(mutex_);
  sending_ = false;
  if (!ended_ && !waiting_.empty()) Send(now);
}

bool WatchQueue::IsBehind() const {
  const Lock lock(mutex_);
  return behind_ && !ended_;
}

void WatchQueue::End(WatchEnd why) {
  const Lock lock(mutex_);
  EndLocked(why);
}

void WatchQueue::Detach() {
  const Lock lock(mutex_);
  ended_ = true;
  listener_ = nullptr;
}

void WatchQueue::Begin(const WatchPosition& head, Clock::time_point now) {
  const Lock lock(mutex_);
  begun_ = true;
  position_ = resume_.value_or(head);
  behind_ = position_ < head;
  if (!ended_) Send(now);
}

bool WatchQueue::HasBegun() const {
  const Lock lock(mutex_);
  return begun_;
}

void WatchQueue::EndIfFrom(uint64_t next_xid) {
  const Lock lock(mutex_);
  const WatchPosition position = begun_ ? position_ : resume_.value_or(WatchPosition());
  if (position.xid >= next_xid) EndLocked(WatchEnd::kUnknownPosition);
}

void WatchQueue::Deliver(const WatchChunk& chunk, Clock::time_point now) {
  const Lock lock(mutex_);
  if (!begun_ || ended_ || position_ < chunk.from || !(position_ < chunk.to)) return;
  WatchPosition end = chunk.to;
  for (const WatchEntry& entry : chunk.entries) {
    if (!(position_ < entry.position)) continue;
    if (sites_.empty() || sites_.count(entry.site_id) > 0) {
      if (waiting_.size() >= options_.max_bytes) {
        behind_ = true;
        end = position_;
        break;
      }
      waiting_ += entry.bytes;
    }
    position_ = entry.position;
  }
  position_ = end;
  if (!sending_ && !waiting_.empty()) Send(now);
}

std::optional<WatchPosition> WatchQueue::Behind(const WatchPosition& head) {
  const Lock lock(mutex_);
  if (!begun_ || ended_) return std::nullopt;
  behind_ = position_ < head;
  // The next entries are read while an answer is sent.
  if (!behind_ || !waiting_.empty()) return std::nullopt;
  return position_;
}

void WatchQueue::Tick(Clock::time_point now) {
  const Lock lock(mutex_);
  if (listener_ == nullptr || !begun_) return;
  const auto since = now - sent_time_;
  if (sending_) {
    if (since > options_.stall_timeout) EndLocked(WatchEnd::kTooSlow);
    // What was on its way and the end behind it have not gone out after as long again.
    if (since > 2 * options_.stall_timeout && !cut_) {
      cut_ = true;
      listener_->Cut();
    }
  } else if (!ended_ && since > (sent_position_ < position_ ? options_.position_interval
                                                            : options_.quiet_interval)) {
    Send(now);
  }
}

void WatchQueue::Send(Clock::time_point now) {
  sending_ = true;
  sent_time_ = now;
  sent_position_ = position_;
  listener_->Send({std::exchange(waiting_, {}), position_});
}

void WatchQueue::EndLocked(WatchEnd why) {
  if (ended_) return;
  ended_ = true;
  waiting_.clear();
  listener_->End(why, sent_position_);
}

}  // namespace energysites::storage
