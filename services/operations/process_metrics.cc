#include "services/operations/process_metrics.h"

#include <sys/resource.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"

namespace energysites {
namespace {

using prometheus::MetricFamily;
using prometheus::MetricType;

MetricFamily Single(const char* name, const char* help, MetricType type, double value) {
  prometheus::ClientMetric metric;
  metric.gauge.value = value;
  metric.counter.value = value;
  return {name, help, type, {metric}};
}

std::string TextOf(const char* path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

double NumberOf(absl::string_view text) {
  double number = 0;
  return absl::SimpleAtod(text, &number) ? number : 0;
}

// Returns the boot time of the machine in seconds since 1970: the line `btime` of /proc/stat.
double BootSeconds() {
  for (absl::string_view line : absl::StrSplit(TextOf("/proc/stat"), '\n')) {
    const std::vector<absl::string_view> words = absl::StrSplit(line, ' ');
    if (words[0] == "btime" && words.size() == 2) return NumberOf(words[1]);
  }
  return 0;
}

// Returns the fields of /proc/self/stat from the third, `state`, on. The second, the program name,
// is in parentheses and may contain any characters.
std::vector<std::string> Stat() {
  const std::string text = TextOf("/proc/self/stat");
  const size_t name_end = text.rfind(") ");
  if (name_end == text.npos) return {};
  return absl::StrSplit(absl::string_view(text).substr(name_end + 2), ' ');
}

int OpenFiles() {
  std::error_code ignored;
  const std::filesystem::directory_iterator files("/proc/self/fd", ignored);
  // Without the descriptor of the directory itself.
  return static_cast<int>(std::distance(begin(files), end(files))) - 1;
}

size_t ResidentBytes() {
  static const auto page_bytes = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  size_t all_pages = 0, resident_pages = 0;
  std::ifstream("/proc/self/statm") >> all_pages >> resident_pages;
  return resident_pages * page_bytes;
}

}  // namespace

std::vector<MetricFamily> ProcessMetrics() {
  // The field numbers of proc(5), minus 3 because Stat() begins with the third field.
  constexpr size_t kUserTicks = 14 - 3, kSystemTicks = 15 - 3, kStartTicks = 22 - 3,
                   kVirtualBytes = 23 - 3;
  const std::vector<std::string> stat = Stat();
  if (stat.size() <= kVirtualBytes) return {};
  const double ticks_per_second = static_cast<double>(sysconf(_SC_CLK_TCK));
  static const double boot_seconds = BootSeconds();
  rlimit files = {};
  getrlimit(RLIMIT_NOFILE, &files);
  return {
      Single("process_cpu_seconds_total", "User and system CPU time, in seconds.",
             MetricType::Counter,
             (NumberOf(stat[kUserTicks]) + NumberOf(stat[kSystemTicks])) / ticks_per_second),
      Single("process_resident_memory_bytes", "Memory in use, in bytes.", MetricType::Gauge,
             static_cast<double>(ResidentBytes())),
      Single("process_virtual_memory_bytes", "Address space in use, in bytes.", MetricType::Gauge,
             NumberOf(stat[kVirtualBytes])),
      Single("process_start_time_seconds", "Start of the process, in seconds since 1970.",
             MetricType::Gauge, boot_seconds + NumberOf(stat[kStartTicks]) / ticks_per_second),
      Single("process_open_fds", "Open file descriptors.", MetricType::Gauge, OpenFiles()),
      Single("process_max_fds", "File descriptors that may be open.", MetricType::Gauge,
             static_cast<double>(files.rlim_cur)),
  };
}

}  // namespace energysites
