#include "clients/cli/progress.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace energysites {
namespace {

constexpr int kBarWidth = 30;
constexpr absl::Duration kRedrawInterval = absl::Milliseconds(100);
constexpr absl::Duration kLineInterval = absl::Seconds(2);

}  // namespace

std::string WithCommas(int64_t number) {
  std::string text = absl::StrCat(number);
  const int first = number < 0 ? 1 : 0;
  for (int i = static_cast<int>(text.size()) - 3; i > first; i -= 3) text.insert(i, ",");
  return text;
}

Progress::Progress(std::ostream& out, bool terminal, absl::Time start)
    : out_(out), terminal_(terminal), start_(start), drawn_(start) {}

void Progress::Restart(absl::Time start) { start_ = drawn_ = start; }

void Progress::Update(int64_t rows, double fraction, absl::Time now) {
  if (now - drawn_ < (terminal_ ? kRedrawInterval : kLineInterval)) return;
  drawn_ = now;
  const double seconds = absl::ToDoubleSeconds(now - start_);
  std::string text = absl::StrCat(WithCommas(rows), " rows, ",
                                  WithCommas(static_cast<int64_t>(rows / seconds)), " rows/s");
  if (fraction > 0) absl::StrAppendFormat(&text, ", %d %%", static_cast<int>(fraction * 100));
  if (!terminal_) {
    out_ << text << std::endl;
    return;
  }
  const int filled = static_cast<int>(fraction * kBarWidth);
  out_ << "\r[" << std::string(filled, '#') << std::string(kBarWidth - filled, '.') << "] " << text
       << "\x1B[K" << std::flush;
  visible_ = true;
}

void Progress::Print(absl::string_view line) {
  Clear();
  out_ << line << '\n';
}

void Progress::Clear() {
  if (visible_) out_ << "\r\x1B[K" << std::flush;
  visible_ = false;
}

}  // namespace energysites
