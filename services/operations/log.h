// Structured logs: one JSON object per line on standard error, written by a background thread.
#ifndef SERVICES_OPERATIONS_LOG_H_
#define SERVICES_OPERATIONS_LOG_H_

#include <initializer_list>
#include <string>

#include "absl/strings/string_view.h"
#include "spdlog/common.h"

namespace energysites {

// Must be called once, before the first Log. Errors of gRPC and protobuf are logged in the same
// format from then on: with their source location, and with their message only if it cannot contain
// data from callers. If standard error is too slow, new lines are dropped instead of delaying
// calls, and a line with their number is logged.
void StartLog(spdlog::level::level_enum level);

// Writes all buffered lines and stops the log.
void FlushLog();

// A field of a log line. Refers to its texts without copying them.
class LogField {
 public:
  LogField(absl::string_view name, absl::string_view text) : name_(name), text_(text) {}
  LogField(absl::string_view name, const char* text) : name_(name), text_(text) {}
  LogField(absl::string_view name, const std::string& text) : name_(name), text_(text) {}
  LogField(absl::string_view name, double number)
      : name_(name), number_(number), is_number_(true) {}
  LogField(absl::string_view name, int number) : LogField(name, static_cast<double>(number)) {}

  // Appends `,"name":value`.
  void AppendTo(std::string& line) const;

 private:
  absl::string_view name_;
  absl::string_view text_;
  double number_ = 0;
  bool is_number_ = false;
};

void Log(spdlog::level::level_enum level, absl::string_view event,
         std::initializer_list<LogField> fields);

}  // namespace energysites

#endif  // SERVICES_OPERATIONS_LOG_H_
