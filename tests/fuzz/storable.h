// What the tables take, written by hand from the CHECKs of storage/migrations/ and the contract's
// comments, so that the judge shares no reading of the rules' options with the judged.
#ifndef TESTS_FUZZ_STORABLE_H_
#define TESTS_FUZZ_STORABLE_H_

#include <functional>
#include <string>

#include "energysites/v1/configurations.pb.h"
#include "energysites/v1/live_data.pb.h"
#include "energysites/v1/sites.pb.h"

namespace energysites::fuzz {

// Which fields of a resource a request stores, by name.
using Stores = std::function<bool(const std::string& field)>;

inline bool StoresAll(const std::string&) { return true; }

bool IsStorable(const v1::Site& site, const Stores& stores = StoresAll);
bool IsStorable(const v1::Configuration& configuration, const Stores& stores = StoresAll);
bool IsStorable(const v1::LiveDataEntry& entry);

// Whether nanos are 0 to 999,999,999.
bool IsNormal(const google::protobuf::Timestamp& stamp);

// 8-4-4-4-12 hexadecimal digits.
bool IsUuid(const std::string& text);

}  // namespace energysites::fuzz

#endif  // TESTS_FUZZ_STORABLE_H_
