#include "services/log.h"

#include <memory>

#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "spdlog/async.h"
#include "spdlog/sinks/stdout_sinks.h"
#include "spdlog/spdlog.h"

namespace energysites {
namespace {

constexpr size_t kWaitingLines = 8192;

std::string Quoted(absl::string_view text) {
  std::string quoted = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      quoted += {'\\', c};
    } else if (static_cast<unsigned char>(c) < 0x20) {
      absl::StrAppendFormat(&quoted, "\\u%04x", c);
    } else {
      quoted += c;
    }
  }
  return quoted + '"';
}

}  // namespace

void StartLog(spdlog::level::level_enum level) {
  spdlog::init_thread_pool(kWaitingLines, 1);
  auto logger = std::make_shared<spdlog::async_logger>(
      "energy-sites", std::make_shared<spdlog::sinks::stderr_sink_mt>(), spdlog::thread_pool(),
      spdlog::async_overflow_policy::overrun_oldest);
  logger->set_level(level);
  logger->set_pattern("%v");
  spdlog::set_default_logger(logger);
}

void FlushLog() { spdlog::shutdown(); }

LogField::LogField(absl::string_view name, absl::string_view text)
    : json(absl::StrCat(Quoted(name), ":", Quoted(text))) {}

LogField::LogField(absl::string_view name, double number)
    : json(absl::StrCat(Quoted(name), ":", number)) {}

void Log(spdlog::level::level_enum level, absl::string_view event,
         std::initializer_list<LogField> fields) {
  spdlog::logger* const logger = spdlog::default_logger_raw();
  if (logger == nullptr || !logger->should_log(level)) return;
  const auto name = spdlog::level::to_string_view(level);
  std::string line = absl::StrCat(
      "{\"time\":\"", absl::FormatTime("%Y-%m-%dT%H:%M:%E6SZ", absl::Now(), absl::UTCTimeZone()),
      "\",\"level\":", Quoted({name.data(), name.size()}), ",\"event\":", Quoted(event));
  for (const LogField& field : fields) absl::StrAppend(&line, ",", field.json);
  line += '}';
  logger->log(level, line);
}

}  // namespace energysites
