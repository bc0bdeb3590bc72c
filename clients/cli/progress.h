// Shows how far an import is: a bar that redraws itself on a terminal, a line now and then else.
#pragma once

#include <cstdint>
#include <ostream>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace energysites {

// `1234567` as `1,234,567`.
std::string WithCommas(int64_t number);

// Not thread-safe.
class Progress {
 public:
  // `out` must outlive this.
  Progress(std::ostream& out, bool terminal, absl::Time start);

  // Begins anew, for the next file.
  void Restart(absl::Time start);

  // Shows `rows` rows done, `fraction` (0 to 1) of the file; 0 where that is not known. Draws
  // only when the last drawing is old enough.
  void Update(int64_t rows, double fraction, absl::Time now);

  // Writes a line of text without leaving half of the bar beside it.
  void Print(absl::string_view line);

  // Removes the bar.
  void Clear();

 private:
  std::ostream& out_;
  const bool terminal_;
  absl::Time start_;
  absl::Time drawn_;
  bool visible_ = false;
};

}  // namespace energysites
