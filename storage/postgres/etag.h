// Etags: what callers send, and what rows hold.
#ifndef STORAGE_POSTGRES_ETAG_H_
#define STORAGE_POSTGRES_ETAG_H_

#include <string>

#include "absl/strings/match.h"

namespace energysites::storage {

// A caller's etag as a parameter of a statement, where an empty text stands for none. A text with a
// NUL, which the database does not take, becomes one that matches no etag.
inline std::string EtagParameter(const std::string& etag) {
  return absl::StrContains(etag, '\0') ? "no etag" : etag;
}

// Whether a caller who sent `sent`, which may be empty, may change what has the etag `stored`.
inline bool EtagMatches(const std::string& sent, const std::string& stored) {
  return sent.empty() || sent == stored;
}

}  // namespace energysites::storage

#endif  // STORAGE_POSTGRES_ETAG_H_
