// Structured logs: one JSON object a line on standard error, written by a thread of their own.
#ifndef SERVICES_OPERATIONS_LOG_H_
#define SERVICES_OPERATIONS_LOG_H_

#include <initializer_list>
#include <string>

#include "absl/strings/string_view.h"
#include "spdlog/common.h"

namespace energysites {

// Call once, before the first Log. Errors of gRPC and protobuf come as lines of ours from then on:
// with the place in their code, and with their text only where that cannot hold what callers sent.
// When nobody reads the lines as fast as they come, the newest are dropped rather than calls
// delayed, and a line says how many.
void StartLog(spdlog::level::level_enum level);

// Writes what is still waiting.
void FlushLog();

// A field of a log line. Made for one call of Log: it keeps no text of its own.
class LogField {
 public:
  LogField(absl::string_view name, absl::string_view text) : name_(name), text_(text) {}
  LogField(absl::string_view name, const char* text) : name_(name), text_(text) {}
  LogField(absl::string_view name, const std::string& text) : name_(name), text_(text) {}
  LogField(absl::string_view name, double number)
      : name_(name), number_(number), is_number_(true) {}
  LogField(absl::string_view name, int number) : LogField(name, static_cast<double>(number)) {}

  // As `,"name":value`.
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
