#include "services/rest_writes.h"

#include <rapidjson/error/en.h>
#include <rapidjson/memorystream.h>
#include <rapidjson/reader.h>

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "google/api/annotations.pb.h"
#include "services/errors.h"
#include "validation/violation.h"

namespace energysites {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;

// More than fit into an answer.
constexpr size_t kMostListed = 100;
constexpr size_t kMostDepth = 100;

// Timestamps, masks and the like have a form of their own in JSON.
bool IsWellKnown(const Descriptor& type) {
  return absl::StartsWith(type.file()->name(), "google/protobuf/");
}

const FieldDescriptor* FindField(const Descriptor& type, const std::string& name) {
  const FieldDescriptor* const field = type.FindFieldByName(name);
  return field != nullptr ? field : type.FindFieldByCamelcaseName(name);
}

// Follows a JSON text and the message type beside it. What has no type is not looked into: the
// inside of an unknown field, and values whose form is for the transcoder to judge.
class Follower : public rapidjson::BaseReaderHandler<rapidjson::UTF8<>, Follower> {
 public:
  Follower(const Descriptor& type, const std::string& prefix) : type_(&type), prefix_(prefix) {}

  bool StartObject() {
    if (levels_.size() >= kMostDepth) return false;
    levels_.push_back({TypeOfValue(), PlaceOfValue(), nullptr, "", -1});
    return true;
  }
  bool Key(const char* name, rapidjson::SizeType size, bool /*copy*/) {
    Level& level = levels_.back();
    level.key.assign(name, size);
    level.field = level.type == nullptr ? nullptr : FindField(*level.type, level.key);
    if (level.type == nullptr || level.field != nullptr) return true;
    ++unknown_;
    if (violations_.size() < kMostListed) {
      violations_.push_back({absl::StrCat(level.place, level.key), "field.known",
                             absl::StrCat("is no field of ", level.type->name())});
    }
    return true;
  }
  bool EndObject(rapidjson::SizeType /*members*/) { return End(); }

  bool StartArray() {
    if (levels_.size() >= kMostDepth) return false;
    // The elements are of the field that holds the array.
    const FieldDescriptor* const field = levels_.empty() ? nullptr : levels_.back().field;
    levels_.push_back({nullptr, PlaceOfValue(), field, "", 0});
    return true;
  }
  bool EndArray(rapidjson::SizeType /*elements*/) { return End(); }

  // Numbers, texts, true, false and null.
  bool Default() {
    Count();
    return true;
  }

  // The first unknown fields, and how many there are in all.
  const std::vector<Violation>& violations() const { return violations_; }
  size_t unknown() const { return unknown_; }

 private:
  struct Level {
    const Descriptor* type;        // Of an object, if it is known.
    std::string place;             // What goes before the names of an object's fields.
    const FieldDescriptor* field;  // Of the value to come, if it is known.
    std::string key;
    int index;  // Of the element to come in an array; -1 in an object.
  };

  const Descriptor* TypeOfValue() const {
    if (levels_.empty()) return type_;
    const FieldDescriptor* const field = levels_.back().field;
    if (field == nullptr || field->message_type() == nullptr || field->is_map() ||
        IsWellKnown(*field->message_type())) {
      return nullptr;
    }
    return field->message_type();
  }

  std::string PlaceOfValue() const {
    if (levels_.empty()) return prefix_;
    const Level& level = levels_.back();
    if (level.index < 0) return absl::StrCat(level.place, level.key, ".");
    // The array's place ends with the dot behind its name.
    return absl::StrCat(level.place.substr(0, level.place.size() - 1), "[", level.index, "].");
  }

  void Count() {
    if (!levels_.empty() && levels_.back().index >= 0) ++levels_.back().index;
  }

  bool End() {
    levels_.pop_back();
    Count();
    return true;
  }

  const Descriptor* const type_;
  const std::string& prefix_;
  std::vector<Level> levels_;
  std::vector<Violation> violations_;
  size_t unknown_ = 0;
};

// The character that `%` and two hexadecimal digits stand for at `text`'s begin; -1 if they are not
// there.
int Escaped(absl::string_view text) {
  if (text.size() < 3 || text[0] != '%' || !absl::ascii_isxdigit(text[1]) ||
      !absl::ascii_isxdigit(text[2])) {
    return -1;
  }
  return static_cast<unsigned char>(absl::HexStringToBytes(text.substr(1, 2))[0]);
}

// The segments of a path, as generously as Envoy's transcoder makes them: escapes count as what
// they stand for, slashes at the end do not count, and a verb behind a colon is a segment.
std::vector<std::string> SegmentsOf(absl::string_view path) {
  std::string text;
  for (size_t i = 0; i < path.size(); ++i) {
    const int escaped = Escaped(path.substr(i));
    text += escaped < 0 ? path[i] : static_cast<char>(escaped);
    if (escaped >= 0) i += 2;
  }
  while (!text.empty() && text.back() == '/') text.pop_back();
  const size_t colon = text.rfind(':');
  if (colon != text.npos && colon > text.rfind('/')) text[colon] = '/';
  return absl::StrSplit(text, '/');
}

bool Fits(const std::vector<std::string>& segments, const std::vector<std::string>& path) {
  return std::equal(segments.begin(), segments.end(), path.begin(), path.end(),
                    [](const std::string& segment, const std::string& part) {
                      // A variable, `{site.id}`, takes anything.
                      return absl::StartsWith(segment, "{") || segment == part;
                    });
}

}  // namespace

RestWrites::RestWrites(const std::vector<const google::protobuf::ServiceDescriptor*>& services) {
  const auto add = [this](const google::protobuf::MethodDescriptor& method,
                          const google::api::HttpRule& rule) {
    if (rule.body().empty()) return;
    const bool post = !rule.post().empty();
    const Descriptor* body = method.input_type();
    std::string prefix;
    if (rule.body() != "*") {
      body = body->FindFieldByName(rule.body())->message_type();
      prefix = rule.body() + ".";
    }
    bindings_.push_back(
        {post ? "POST" : "PATCH", SegmentsOf(post ? rule.post() : rule.patch()), body, prefix});
  };
  for (const auto* service : services) {
    for (int i = 0; i < service->method_count(); ++i) {
      const auto& method = *service->method(i);
      const google::api::HttpRule& rule = method.options().GetExtension(google::api::http);
      add(method, rule);
      for (const auto& additional : rule.additional_bindings()) add(method, additional);
    }
  }
}

const RestWrites::Binding* RestWrites::Find(absl::string_view http_method,
                                            absl::string_view path) const {
  const std::vector<std::string> parts = SegmentsOf(path.substr(0, path.find_first_of("?#")));
  for (const Binding& binding : bindings_) {
    if (binding.http_method == http_method && Fits(binding.segments, parts)) return &binding;
  }
  return nullptr;
}

absl::Status RestWrites::Check(absl::string_view http_method, absl::string_view path,
                               absl::string_view body) const {
  const Binding* const binding = Find(http_method, path);
  if (binding == nullptr || absl::StripAsciiWhitespace(body).empty()) return absl::OkStatus();
  Follower follower(*binding->body, binding->prefix);
  rapidjson::MemoryStream stream(body.data(), body.size());
  rapidjson::Reader reader;
  constexpr unsigned kFlags =
      rapidjson::kParseValidateEncodingFlag | rapidjson::kParseIterativeFlag;
  const auto parsed = reader.Parse<kFlags>(stream, follower);
  // Envoy's own parser is laxer: what it would make of a broken text is not to be known here. Nor
  // is what lies behind a U+0000, where this one ends.
  if (absl::StrContains(body, '\0')) return BadJson("it has a U+0000");
  if (parsed.IsError()) {
    return BadJson(
        absl::StrCat(rapidjson::GetParseError_En(parsed.Code()), " (byte ", parsed.Offset(), ")"));
  }
  if (follower.unknown() == 0) return absl::OkStatus();
  return InvalidRequest(follower.violations(), follower.unknown());
}

}  // namespace energysites
