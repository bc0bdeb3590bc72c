// Time zones by their names in the IANA database.
#ifndef SERVICES_LIVE_DATA_TIME_ZONES_H_
#define SERVICES_LIVE_DATA_TIME_ZONES_H_

#include <optional>
#include <string>

#include "absl/time/time.h"

namespace energysites {

// Returns the zone with this name in the time zone database of the machine; UTC for an empty name.
// Returns nothing for any other name, such as a path, which absl::LoadTimeZone would accept.
// Thread-safe.
std::optional<absl::TimeZone> FindTimeZone(const std::string& name);

}  // namespace energysites

#endif  // SERVICES_LIVE_DATA_TIME_ZONES_H_
