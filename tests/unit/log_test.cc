// One valid JSON object per line for any text.
#include "services/operations/log.h"

#include <memory>
#include <sstream>
#include <string>

#include "absl/strings/str_split.h"
#include "google/protobuf/struct.pb.h"
#include "google/protobuf/util/json_util.h"
#include "gtest/gtest.h"
#include "spdlog/sinks/ostream_sink.h"
#include "spdlog/spdlog.h"

namespace energysites {
namespace {

// The parsed line that Log writes.
google::protobuf::Struct Logged(std::initializer_list<LogField> fields) {
  std::ostringstream stream;
  const auto before = spdlog::default_logger();
  const auto logger = std::make_shared<spdlog::logger>(
      "test", std::make_shared<spdlog::sinks::ostream_sink_mt>(stream));
  logger->set_pattern("%v");
  spdlog::set_default_logger(logger);
  Log(spdlog::level::info, "call", fields);
  logger->flush();
  spdlog::set_default_logger(before);
  const std::string line = stream.str();
  EXPECT_EQ(line.find('\n'), line.size() - 1) << line;
  google::protobuf::Struct parsed;
  EXPECT_TRUE(google::protobuf::util::JsonStringToMessage(line, &parsed).ok()) << line;
  return parsed;
}

TEST(LogTest, WritesTimeLevelAndEvent) {
  const auto fields = Logged({}).fields();
  EXPECT_EQ(fields.at("event").string_value(), "call");
  EXPECT_EQ(fields.at("level").string_value(), "info");
  EXPECT_EQ(fields.at("time").string_value().back(), 'Z');
}

TEST(LogTest, QuotesEveryText) {
  std::string all_ascii;
  for (char c = 0; c < 0x7F; ++c) all_ascii += c;
  const std::string kTexts[] = {"",          "a\"b",
                                "a\\",       "\\\"",
                                "a\nb\r\tc", "{}",
                                "{0} %s %v", "\",\"level\":\"fatal",
                                "Žďár",      "\xF0\x9F\x8C\x9E",
                                "\x7F",      std::string("a\0b", 3),
                                all_ascii};
  for (const std::string& text : kTexts) {
    const auto fields = Logged({{"text", text}}).fields();
    EXPECT_EQ(fields.at("text").string_value(), text);
    EXPECT_EQ(fields.size(), 4u) << text;
  }
}

TEST(LogTest, WritesNumbersAsNumbers) {
  const auto fields = Logged({{"milliseconds", 1.5}, {"count", -3}}).fields();
  EXPECT_EQ(fields.at("milliseconds").number_value(), 1.5);
  EXPECT_EQ(fields.at("count").number_value(), -3);
}

}  // namespace
}  // namespace energysites
