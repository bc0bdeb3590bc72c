// Shows the progress of an import: as a bar on a terminal, otherwise as a line every two seconds.
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
  // `out` must outlive this object.
  Progress(std::ostream& out, bool terminal, absl::Time start);

  // Resets the rate for the next file.
  void Restart(absl::Time start);

  // Shows that `rows` rows are done, `fraction` (0 to 1) of the file; 0 if unknown. Draws at most
  // once per interval.
  void Update(int64_t rows, double fraction, absl::Time now);

  // Removes the bar and writes a line of text.
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
