#include "services/stream_places.h"

#include <utility>

#include "services/errors.h"

namespace energysites {

absl::StatusOr<std::unique_ptr<StreamPlaces::Place>> StreamPlaces::Take(const Caller& caller) {
  if (!caller.sites.has_value()) return nullptr;
  const std::lock_guard<std::mutex> lock(mutex_);
  size_t& held = held_[caller.subject];
  if (held >= most_of_subject_) return TooManyStreams(most_of_subject_);
  ++held;
  return std::unique_ptr<Place>(new Place(*this, caller.subject));
}

StreamPlaces::Place::~Place() {
  const std::lock_guard<std::mutex> lock(places_.mutex_);
  const auto held = places_.held_.find(subject_);
  if (--held->second == 0) places_.held_.erase(held);
}

}  // namespace energysites
