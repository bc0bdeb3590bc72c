// Room for streams, of which no single device may take all.
#ifndef SERVICES_ADMISSION_STREAM_PLACES_H_
#define SERVICES_ADMISSION_STREAM_PLACES_H_

#include <algorithm>
#include <cstddef>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "services/admission/caller.h"

namespace energysites {

// The streams of one kind that are open at one time in this process. Tokens that are bound to sites
// are for devices, which are many and not trusted: all those of one subject get a few of the
// places. Callers that are bound to no sites get what there is. Safe from any thread; outlives its
// places.
class StreamPlaces {
 public:
  // A place, until it is destroyed.
  class Place {
   public:
    ~Place();
    Place(const Place&) = delete;
    Place& operator=(const Place&) = delete;

   private:
    friend class StreamPlaces;
    Place(StreamPlaces& places, std::string subject)
        : places_(places), subject_(std::move(subject)) {}

    StreamPlaces& places_;
    const std::string subject_;
  };

  // `all` is how many streams of the kind the process takes; `most_of_subject` how many of them one
  // subject gets, and one at least.
  StreamPlaces(size_t all, size_t most_of_subject)
      : all_(all), most_of_subject_(std::max<size_t>(most_of_subject, 1)) {}

  // Makes `place` one for the caller. Returns RESOURCE_EXHAUSTED if the caller has its share, or
  // all are taken.
  absl::Status Take(const Caller& caller, std::unique_ptr<Place>& place);

  size_t taken() const;

 private:
  const size_t all_;
  const size_t most_of_subject_;
  mutable std::mutex mutex_;
  size_t taken_ = 0;
  // By subject of bound tokens, and under "" those of other callers; none is zero.
  std::map<std::string, size_t> held_;
};

}  // namespace energysites

#endif  // SERVICES_ADMISSION_STREAM_PLACES_H_
