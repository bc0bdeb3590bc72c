#include "services/rest_body/rest_writes.h"

#include <rapidjson/error/en.h>
#include <rapidjson/memorystream.h>
#include <rapidjson/reader.h>

#include <algorithm>

#include "absl/algorithm/container.h"
#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "google/api/annotations.pb.h"
#include "services/errors/errors.h"
#include "validation/violation.h"

namespace energysites {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;

// A misspelt field of each entry of a batch, and more than a person reads.
constexpr size_t kMostListed = 1000;
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
    // Envoy's parser takes one, whatever it holds, and makes it the begin of 1970.
    if (IsTimestampWanted()) {
      const std::string place = PlaceOfValue();
      Add({place.substr(0, place.size() - 1), "json.text",
           "must be a text such as \"2016-06-01T00:00:00Z\", not an object"});
    }
    levels_.push_back({TypeOfValue(), PlaceOfValue(), nullptr, "", -1});
    return true;
  }
  bool Key(const char* name, rapidjson::SizeType size, bool /*copy*/) {
    Level& level = levels_.back();
    level.key.assign(name, size);
    level.field = level.type == nullptr ? nullptr : FindField(*level.type, level.key);
    if (level.type == nullptr || level.field != nullptr) return true;
    Add({absl::StrCat(level.place, level.key), "field.known",
         absl::StrCat("is no field of ", level.type->name())});
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

  void Add(Violation violation) {
    ++count_;
    if (violations_.size() < kMostListed) violations_.push_back(std::move(violation));
  }

  // The first violations, and how many there are in all.
  const std::vector<Violation>& violations() const { return violations_; }
  size_t count() const { return count_; }

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

  bool IsTimestampWanted() const {
    if (levels_.empty() || levels_.back().field == nullptr) return false;
    const Descriptor* const type = levels_.back().field->message_type();
    return type != nullptr && type->full_name() == "google.protobuf.Timestamp";
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
  size_t count_ = 0;
};

// Whether `text` looks like UTF-16 or UTF-32: it has their byte order mark, or a zero byte within
// the first two bytes of what should be an ASCII character.
bool IsWideText(absl::string_view text) {
  return absl::StartsWith(text, "\xFE\xFF") || absl::StartsWith(text, "\xFF\xFE") ||
         absl::StrContains(text.substr(0, 2), '\0');
}

// Whether `text` has no control characters other than white space: compressed bytes do have them.
bool LooksLikeText(absl::string_view text) {
  return absl::c_none_of(text, [](unsigned char character) {
    return absl::ascii_iscntrl(character) && !absl::ascii_isspace(character);
  });
}

// Whether `text` begins as an object or an array of JSON.
bool BeginsJson(absl::string_view text) {
  text = absl::StripLeadingAsciiWhitespace(text);
  return absl::StartsWith(text, "{") || absl::StartsWith(text, "[");
}

// Of a header field that a message names.
std::string Shown(absl::string_view value) {
  constexpr size_t kMaxBytes = 100;
  return absl::CHexEscape(value.substr(0, kMaxBytes));
}

// Why `body`, at whose byte `offset` the parser found `fault`, is no JSON, and what to send.
std::string WhyNotJson(absl::string_view body, const BodyHeaders& headers, absl::string_view fault,
                       size_t offset) {
  const absl::string_view encoding = headers.content_encoding;
  const bool is_gzip = absl::StartsWith(body, "\x1F\x8B");
  const bool is_encoded = !encoding.empty() && !absl::EqualsIgnoreCase(encoding, "identity");
  // A client may send a wrong Content-Encoding or Content-Type, and valid JSON is accepted with
  // both. They are the fault only if the bytes agree with them.
  if (is_gzip || (is_encoded && !LooksLikeText(body))) {
    return absl::StrCat("it is compressed (Content-Encoding: ",
                        encoding.empty() ? "none, but the bytes are gzip" : Shown(encoding),
                        "), which is not supported; send it uncompressed, without "
                        "Content-Encoding");
  }
  if (absl::StartsWith(body, "\xEF\xBB\xBF")) {
    return "it begins with a byte order mark (bytes EF BB BF); send it without these three bytes";
  }
  if (IsWideText(body)) return "it is UTF-16 or UTF-32; send UTF-8 without a byte order mark";
  const absl::string_view type =
      absl::StripAsciiWhitespace(headers.content_type.substr(0, headers.content_type.find(';')));
  if (!type.empty() && !absl::EndsWithIgnoreCase(type, "json") && !BeginsJson(body)) {
    return absl::StrCat("it is ", Shown(type), "; send JSON with Content-Type: application/json");
  }
  const size_t zero = body.find('\0');
  if (zero != body.npos) {
    return absl::StrCat("it has a U+0000 (byte ", zero, "); send it without that character");
  }
  return absl::StrCat(fault, " (byte ", offset, ")");
}

// Reads `body` with `follower`.
absl::Status Follow(absl::string_view body, const BodyHeaders& headers, Follower& follower) {
  const absl::string_view value = absl::StripAsciiWhitespace(body);
  if (value.empty()) return absl::OkStatus();
  rapidjson::MemoryStream stream(body.data(), body.size());
  rapidjson::Reader reader;
  constexpr unsigned kFlags =
      rapidjson::kParseValidateEncodingFlag | rapidjson::kParseIterativeFlag;
  const auto parsed = reader.Parse<kFlags>(stream, follower);
  // Envoy's own parser is laxer: what it would make of a broken text is not to be known here. Nor
  // is what lies behind a U+0000, where this one ends.
  if (!parsed.IsError() && !absl::StrContains(body, '\0')) {
    const bool is_object = value[0] == '{' || value == "null";
    return is_object ? absl::OkStatus() : BadJson("it is another JSON value; send {...}");
  }
  const bool is_encoding = parsed.Code() == rapidjson::kParseErrorStringInvalidEncoding;
  return BadJson(WhyNotJson(body, headers,
                            is_encoding ? "a text in it is not UTF-8; send UTF-8"
                                        : rapidjson::GetParseError_En(parsed.Code()),
                            parsed.Offset()));
}

// The character that `%` and two hexadecimal digits stand for at `text`'s begin; -1 if they are not
// there.
int Escaped(absl::string_view text) {
  if (text.size() < 3 || text[0] != '%' || !absl::ascii_isxdigit(text[1]) ||
      !absl::ascii_isxdigit(text[2])) {
    return -1;
  }
  return static_cast<unsigned char>(absl::HexStringToBytes(text.substr(1, 2))[0]);
}

std::string Unescaped(absl::string_view escaped) {
  std::string text;
  for (size_t i = 0; i < escaped.size(); ++i) {
    const int character = Escaped(escaped.substr(i));
    text += character < 0 ? escaped[i] : static_cast<char>(character);
    if (character >= 0) i += 2;
  }
  return text;
}

// The segments of a path, as generously as Envoy's transcoder makes them: escapes count as what
// they stand for, slashes at the end do not count, and a verb behind a colon is a segment.
std::vector<std::string> SegmentsOf(absl::string_view path) {
  std::string text = Unescaped(path);
  while (!text.empty() && text.back() == '/') text.pop_back();
  const size_t colon = text.rfind(':');
  if (colon != text.npos && colon > text.rfind('/')) text[colon] = '/';
  return absl::StrSplit(text, '/');
}

// The names of the parameters of a query.
std::vector<std::string> ParametersOf(absl::string_view query) {
  std::vector<std::string> names;
  for (const absl::string_view parameter : absl::StrSplit(query, '&')) {
    names.push_back(Unescaped(parameter.substr(0, parameter.find('='))));
  }
  return names;
}

// `site.siteId` for `site.site_id`.
std::string AsJsonSpells(const Descriptor& request, const std::string& variable) {
  std::vector<std::string> names;
  const Descriptor* type = &request;
  for (const auto& name : absl::StrSplit(variable, '.')) {
    const FieldDescriptor* const field = type->FindFieldByName(std::string(name));
    names.push_back(field->json_name());
    type = field->message_type();
  }
  return absl::StrJoin(names, ".");
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
    Binding binding;
    if (!rule.post().empty()) {
      binding.http_method = "POST";
      binding.segments = SegmentsOf(rule.post());
    } else if (!rule.patch().empty()) {
      binding.http_method = "PATCH";
      binding.segments = SegmentsOf(rule.patch());
    } else if (!rule.delete_().empty()) {
      binding.http_method = "DELETE";
      binding.segments = SegmentsOf(rule.delete_());
    } else {
      return;
    }
    // A DELETE has no body in the contract; Envoy takes one for the whole request.
    binding.body = method.input_type();
    if (!rule.body().empty() && rule.body() != "*") {
      binding.body = binding.body->FindFieldByName(rule.body())->message_type();
      binding.prefix = rule.body() + ".";
    }
    for (const absl::string_view segment : binding.segments) {
      if (!absl::StartsWith(segment, "{")) continue;
      const std::string variable(segment.substr(1, segment.size() - 2));
      binding.variables.push_back(variable);
      binding.variables.push_back(AsJsonSpells(*method.input_type(), variable));
    }
    bindings_.push_back(std::move(binding));
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
                               absl::string_view body, const BodyHeaders& headers) const {
  const Binding* const binding = Find(http_method, path);
  if (binding == nullptr) return absl::OkStatus();
  Follower follower(*binding->body, binding->prefix);
  const size_t query = path.find('?');
  if (query != path.npos) {
    for (const std::string& name : ParametersOf(path.substr(query + 1))) {
      if (absl::c_linear_search(binding->variables, name)) {
        follower.Add({name, "path.once", "must not be in the query, too: it is in the path"});
      }
    }
  }
  const absl::Status followed = Follow(body, headers, follower);
  if (!followed.ok()) return followed;
  if (follower.count() == 0) return absl::OkStatus();
  return InvalidBody(follower.violations(), follower.count());
}

}  // namespace energysites
