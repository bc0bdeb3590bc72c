#include "services/admission/stream_places.h"

#include <utility>

#include "services/errors/errors.h"
#include "storage/errors/errors.h"

namespace energysites {

absl::Status StreamPlaces::Take(const Caller& caller, std::unique_ptr<Place>& place) {
  const std::string subject = caller.sites.has_value() ? caller.subject : "";
  const std::lock_guard<std::mutex> lock(mutex_);
  const auto held = held_.find(subject);
  if (!subject.empty() && held != held_.end() && held->second >= most_of_subject_) {
    return TooManyStreams(most_of_subject_);
  }
  if (taken_ >= all_) return storage::QueueFull();
  ++taken_;
  ++held_[subject];
  place.reset(new Place(*this, subject));
  return absl::OkStatus();
}

size_t StreamPlaces::taken() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return taken_;
}

StreamPlaces::Place::~Place() {
  const std::lock_guard<std::mutex> lock(places_.mutex_);
  --places_.taken_;
  const auto held = places_.held_.find(subject_);
  if (--held->second == 0) places_.held_.erase(held);
}

}  // namespace energysites
