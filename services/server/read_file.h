// Whole files that flags name: secrets and certificates.
#ifndef SERVICES_SERVER_READ_FILE_H_
#define SERVICES_SERVER_READ_FILE_H_

#include <string>

#include "absl/status/statusor.h"

namespace energysites {

// INVALID_ARGUMENT if the file cannot be read or is empty.
absl::StatusOr<std::string> ReadFile(const std::string& path);

}  // namespace energysites

#endif  // SERVICES_SERVER_READ_FILE_H_
