#include "services/admission/subject_quota.h"

#include <algorithm>

#include "services/errors/errors.h"
#include "storage/errors/errors.h"

namespace energysites {

absl::Status SubjectQuota::CheckRoom(const std::string& subject) const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return CheckRoomLocked(subject);
}

std::unique_ptr<SubjectQuota::Holding> SubjectQuota::Hold(const std::string& subject,
                                                          size_t amount) {
  if (amount == 0) return nullptr;
  const std::lock_guard<std::mutex> lock(mutex_);
  return HoldLocked(subject, amount);
}

absl::Status SubjectQuota::Take(const std::string& subject, std::unique_ptr<Holding>& holding) {
  const std::lock_guard<std::mutex> lock(mutex_);
  absl::Status room = CheckRoomLocked(subject);
  if (room.ok()) holding = HoldLocked(subject, 1);
  return room;
}

size_t SubjectQuota::held() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return held_;
}

absl::Status SubjectQuota::CheckRoomLocked(const std::string& subject) const {
  const auto held = held_by_subject_.find(subject);
  if (!subject.empty() && held != held_by_subject_.end() &&
      held->second >= options_.limit_per_subject) {
    return options_.subject_error;
  }
  return held_ < options_.limit ? absl::OkStatus() : storage::QueueFull();
}

std::unique_ptr<SubjectQuota::Holding> SubjectQuota::HoldLocked(const std::string& subject,
                                                                size_t amount) {
  held_ += amount;
  held_by_subject_[subject] += amount;
  return std::unique_ptr<Holding>(new Holding(*this, subject, amount));
}

SubjectQuota::Holding::~Holding() {
  const std::lock_guard<std::mutex> lock(quota_.mutex_);
  quota_.held_ -= amount_;
  const auto held = quota_.held_by_subject_.find(subject_);
  held->second -= amount_;
  if (held->second == 0) quota_.held_by_subject_.erase(held);
}

SubjectQuota StreamQuota(size_t limit, size_t limit_per_device) {
  limit_per_device = std::max<size_t>(limit_per_device, 1);
  return SubjectQuota({limit, limit_per_device, TooManyStreams(limit_per_device)});
}

SubjectQuota UntakenAnswersQuota() {
  constexpr size_t kMebibyte = size_t{1} << 20;
  return SubjectQuota({32 * kMebibyte, 8 * kMebibyte, ReaderTooSlow()});
}

}  // namespace energysites
