// Structured logs: one JSON object a line on standard error, written by a thread of their own.
#ifndef SERVICES_LOG_H_
#define SERVICES_LOG_H_

#include <initializer_list>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "spdlog/common.h"

namespace energysites {

// Call once, before the first Log. When the writer falls behind, the oldest waiting lines are
// dropped rather than calls delayed.
void StartLog(spdlog::level::level_enum level);

// Writes what is still waiting.
void FlushLog();

// A field of a log line.
struct LogField {
  LogField(absl::string_view name, absl::string_view text);
  LogField(absl::string_view name, const char* text) : LogField(name, absl::string_view(text)) {}
  LogField(absl::string_view name, const std::string& text)
      : LogField(name, absl::string_view(text)) {}
  LogField(absl::string_view name, double number);
  LogField(absl::string_view name, int number) : LogField(name, static_cast<double>(number)) {}

  std::string json;  // "name":value
};

void Log(spdlog::level::level_enum level, absl::string_view event,
         std::initializer_list<LogField> fields);

}  // namespace energysites

#endif  // SERVICES_LOG_H_
