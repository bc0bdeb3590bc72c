#ifndef ENERGYSITES_VALIDATION_VIOLATION_H_
#define ENERGYSITES_VALIDATION_VIOLATION_H_

#include <string>

namespace energysites {

// One broken rule of one field.
struct Violation {
  std::string field;  // Path from the validated message: `live_data_entry.soc`, `entries[499].soc`.
  std::string rule_id;  // As protovalidate names it: `double.gte_lte`.
  std::string message;  // What is allowed and what was sent, for people.
};

}  // namespace energysites

#endif  // ENERGYSITES_VALIDATION_VIOLATION_H_
