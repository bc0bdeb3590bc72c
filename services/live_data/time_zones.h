// Time zones by their names in the IANA database.
#ifndef SERVICES_LIVE_DATA_TIME_ZONES_H_
#define SERVICES_LIVE_DATA_TIME_ZONES_H_

#include <optional>
#include <string>

#include "absl/time/time.h"

namespace energysites {

// The zone with this name in the machine's copy of the database; empty for UTC. Nothing for any
// other name, such as a path, which absl::LoadTimeZone would take. From any thread.
std::optional<absl::TimeZone> FindTimeZone(const std::string& name);

}  // namespace energysites

#endif  // SERVICES_LIVE_DATA_TIME_ZONES_H_
