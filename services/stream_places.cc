#include "services/stream_places.h"

#include <utility>

#include "services/errors.h"

namespace energysites {

absl::Status StreamPlaces::Take(const Caller& caller, std::unique_ptr<Place>& place) {
  if (!caller.sites.has_value()) return absl::OkStatus();
  const std::lock_guard<std::mutex> lock(mutex_);
  size_t& held = held_[caller.subject];
  if (held >= most_of_subject_) return TooManyStreams(most_of_subject_);
  ++held;
  place.reset(new Place(*this, caller.subject));
  return absl::OkStatus();
}

StreamPlaces::Place::~Place() {
  const std::lock_guard<std::mutex> lock(places_.mutex_);
  const auto held = places_.held_.find(subject_);
  if (--held->second == 0) places_.held_.erase(held);
}

}  // namespace energysites
