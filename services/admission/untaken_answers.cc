#include "services/admission/untaken_answers.h"

#include "services/errors/errors.h"
#include "storage/errors/errors.h"

namespace energysites {

absl::Status UntakenAnswers::CheckRoom(const Caller& caller) const {
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto held = bytes_of_subjects_.find(caller.subject);
  if (!caller.subject.empty() && held != bytes_of_subjects_.end() &&
      held->second >= kMostBytesOfSubject) {
    return ReaderTooSlow();
  }
  return bytes_ < kMostBytes ? absl::OkStatus() : storage::QueueFull();
}

std::unique_ptr<UntakenAnswers::Answer> UntakenAnswers::Hold(const Caller& caller, size_t bytes) {
  if (bytes == 0) return nullptr;
  const std::lock_guard<std::mutex> lock(mutex_);
  bytes_ += bytes;
  bytes_of_subjects_[caller.subject] += bytes;
  return std::unique_ptr<Answer>(new Answer(*this, caller.subject, bytes));
}

UntakenAnswers::Answer::~Answer() {
  const std::lock_guard<std::mutex> lock(all_.mutex_);
  all_.bytes_ -= bytes_;
  const auto held = all_.bytes_of_subjects_.find(subject_);
  held->second -= bytes_;
  if (held->second == 0) all_.bytes_of_subjects_.erase(held);
}

}  // namespace energysites
