#include "validation/rules.h"

#include <algorithm>
#include <cmath>
#include <memory>
#include <optional>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "re2/re2.h"

namespace energysites {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

// A rule that is set, with the other rules of its field.
struct Declaration {
  const std::string& kind;      // "double"
  const Message& rules;         // the buf.validate.DoubleRules
  const FieldDescriptor& rule;  // its field "gte"

  std::string Id() const { return absl::StrCat(kind, ".", rule.name()); }
  Value Parameter() const { return ReadField(rules, rule); }
  uint64_t Count() const { return std::get<uint64_t>(Parameter()); }
  absl::string_view Text() const { return std::get<absl::string_view>(Parameter()); }
  bool IsTrue() const { return rules.GetReflection()->GetBool(rules, &rule); }

  // Returns the rule `name` of the same field, or null if it is not set.
  const FieldDescriptor* Other(const std::string& name) const {
    const FieldDescriptor* field = rules.GetDescriptor()->FindFieldByName(name);
    return rules.GetReflection()->HasField(rules, field) ? field : nullptr;
  }
};

using Checks = std::vector<Check>;
using Compiled = absl::StatusOr<Checks>;

struct Bound {
  Value limit;
  bool inclusive;
};

// Both return false for NaN.
bool IsAbove(const Value& value, const Bound& lower) {
  return lower.inclusive ? value >= lower.limit : value > lower.limit;
}
bool IsBelow(const Value& value, const Bound& upper) {
  return upper.inclusive ? value <= upper.limit : value < upper.limit;
}

std::string LowerText(const Bound& lower) {
  return absl::StrCat(lower.inclusive ? "at least " : "greater than ", ToText(lower.limit));
}
std::string UpperText(const Bound& upper) {
  return absl::StrCat(upper.inclusive ? "at most " : "less than ", ToText(upper.limit));
}

// `lt` and `lte`. With a lower bound they are part of the check of LowerBound.
Compiled UpperBound(const Declaration& declared) {
  if (declared.Other("gt") || declared.Other("gte")) return Checks{};
  const Bound upper = {declared.Parameter(), declared.rule.name() == "lte"};
  return Checks{{declared.Id(), absl::StrCat("must be ", UpperText(upper)),
                 [upper](const Value& value) { return IsBelow(value, upper); }}};
}

// `gt` and `gte`. If the upper bound is below the lower one, the values between them are invalid.
Compiled LowerBound(const Declaration& declared) {
  const Bound lower = {declared.Parameter(), declared.rule.name() == "gte"};
  const FieldDescriptor* lte = declared.Other("lte");
  const FieldDescriptor* rule = lte ? lte : declared.Other("lt");
  if (rule == nullptr) {
    return Checks{{declared.Id(), absl::StrCat("must be ", LowerText(lower)),
                   [lower](const Value& value) { return IsAbove(value, lower); }}};
  }
  const Bound upper = {ReadField(declared.rules, *rule), lte != nullptr};
  const std::string id = absl::StrCat(declared.Id(), "_", rule->name());
  if (upper.limit < lower.limit) {
    return Checks{{absl::StrCat(id, "_exclusive"),
                   absl::StrCat("must be ", LowerText(lower), " or ", UpperText(upper)),
                   [lower, upper](const Value& value) {
                     return IsAbove(value, lower) || IsBelow(value, upper);
                   }}};
  }
  const std::string range =
      lower.inclusive && upper.inclusive
          ? absl::StrCat("from ", ToText(lower.limit), " to ", ToText(upper.limit))
          : absl::StrCat(LowerText(lower), " and ", UpperText(upper));
  return Checks{{id, absl::StrCat("must be ", range), [lower, upper](const Value& value) {
                   return IsAbove(value, lower) && IsBelow(value, upper);
                 }}};
}

Compiled In(const Declaration& declared) {
  std::vector<Value> allowed;
  const int size = declared.rules.GetReflection()->FieldSize(declared.rules, &declared.rule);
  for (int i = 0; i < size; ++i) {
    allowed.push_back(ReadElement(declared.rules, declared.rule, i));
  }
  const std::string texts = absl::StrJoin(
      allowed, " or ",
      [](std::string* out, const Value& value) { absl::StrAppend(out, ToText(value)); });
  return Checks{{declared.Id(), absl::StrCat("must be ", texts), [allowed](const Value& value) {
                   return std::find(allowed.begin(), allowed.end(), value) != allowed.end();
                 }}};
}

Compiled Finite(const Declaration& declared) {
  if (!declared.IsTrue()) return Checks{};
  return Checks{{declared.Id(), "must be finite",
                 [](const Value& value) { return std::isfinite(std::get<double>(value)); }}};
}

std::string CountText(uint64_t count, absl::string_view unit) {
  return absl::StrCat(count, " ", unit, count == 1 ? "" : "s");
}

uint64_t Length(const Value& text) { return CharacterCount(std::get<absl::string_view>(text)); }

Compiled MinLen(const Declaration& declared) {
  const uint64_t min = declared.Count();
  return Checks{{declared.Id(), absl::StrCat("must have at least ", CountText(min, "character")),
                 [min](const Value& value) { return Length(value) >= min; }}};
}

Compiled MaxLen(const Declaration& declared) {
  const uint64_t max = declared.Count();
  return Checks{{declared.Id(), absl::StrCat("must have at most ", CountText(max, "character")),
                 [max](const Value& value) { return Length(value) <= max; }}};
}

Compiled Len(const Declaration& declared) {
  const uint64_t length = declared.Count();
  return Checks{{declared.Id(), absl::StrCat("must have ", CountText(length, "character")),
                 [length](const Value& value) { return Length(value) == length; }}};
}

Compiled Pattern(const Declaration& declared) {
  const auto pattern = std::make_shared<const RE2>(
      re2::StringPiece(declared.Text().data(), declared.Text().size()), RE2::Quiet);
  if (!pattern->ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat("rule ", declared.Id(), " does not compile: ", pattern->error()));
  }
  const auto matches = [pattern](absl::string_view text) {
    return RE2::PartialMatch(re2::StringPiece(text.data(), text.size()), *pattern);
  };
  // An unescaped + in a URL query is decoded as a space: `Etc/GMT 2`.
  const auto has_decoded_plus = [matches](absl::string_view text) {
    const size_t space = text.rfind(' ');
    if (space == text.npos || space + 1 == text.size()) return false;
    return text.find_first_not_of("0123456789", space + 1) == text.npos && !matches(text) &&
           matches(absl::StrReplaceAll(text, {{" ", "+"}}));
  };
  return Checks{{declared.Id(), "must have no space; in the query of a URL send + as %2B",
                 [has_decoded_plus](const Value& value) {
                   return !has_decoded_plus(std::get<absl::string_view>(value));
                 }},
                {declared.Id(), absl::StrCat("must match the pattern ", declared.Text()),
                 [matches, has_decoded_plus](const Value& value) {
                   const auto text = std::get<absl::string_view>(value);
                   return matches(text) || has_decoded_plus(text);
                 }}};
}

bool IsUuid(absl::string_view text) {
  if (text.size() != 36) return false;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool is_hyphen = i == 8 || i == 13 || i == 18 || i == 23;
    if (is_hyphen ? text[i] != '-' : !absl::ascii_isxdigit(text[i])) return false;
  }
  return true;
}

Compiled Uuid(const Declaration& declared) {
  if (!declared.IsTrue()) return Checks{};
  const std::string expectation = "must be a UUID (8-4-4-4-12 hexadecimal digits)";
  return Checks{{declared.Id(), expectation,
                 [](const Value& value) {
                   const auto text = std::get<absl::string_view>(value);
                   return text.empty() || IsUuid(text);
                 }},
                {absl::StrCat(declared.Id(), "_empty"), expectation,
                 [](const Value& value) { return !std::get<absl::string_view>(value).empty(); }}};
}

Compiled MinItems(const Declaration& declared) {
  const uint64_t min = declared.Count();
  return Checks{{declared.Id(), absl::StrCat("must have at least ", CountText(min, "item")),
                 [min](const Value& size) { return std::get<uint64_t>(size) >= min; }}};
}

Compiled MaxItems(const Declaration& declared) {
  const uint64_t max = declared.Count();
  return Checks{{declared.Id(), absl::StrCat("must have at most ", CountText(max, "item")),
                 [max](const Value& size) { return std::get<uint64_t>(size) <= max; }}};
}

// The caller of CompileRules compiles the rules of a list's elements.
Compiled NoChecks(const Declaration&) { return Checks{}; }

struct RuleRow {
  absl::string_view group;
  absl::string_view rule;
  Compiled (*compile)(const Declaration&);
};

// Every rule that a .proto file may declare, except `required` and `ignore`. A new rule needs a row
// here and cases in tests/validation/.
constexpr RuleRow kRules[] = {
    {"number", "gt", LowerBound},
    {"number", "gte", LowerBound},
    {"number", "lt", UpperBound},
    {"number", "lte", UpperBound},
    {"number", "in", In},
    {"number", "finite", Finite},
    {"string", "len", Len},
    {"string", "min_len", MinLen},
    {"string", "max_len", MaxLen},
    {"string", "pattern", Pattern},
    {"string", "in", In},
    {"string", "uuid", Uuid},
    {"repeated", "min_items", MinItems},
    {"repeated", "max_items", MaxItems},
    {"repeated", "items", NoChecks},
    {"timestamp", "gt", LowerBound},
    {"timestamp", "gte", LowerBound},
    {"timestamp", "lt", UpperBound},
    {"timestamp", "lte", UpperBound},
};

absl::string_view GroupOf(absl::string_view kind) {
  constexpr absl::string_view kNumbers[] = {"float",   "double",  "int32",    "int64",
                                            "uint32",  "uint64",  "sint32",   "sint64",
                                            "fixed32", "fixed64", "sfixed32", "sfixed64"};
  return std::find(std::begin(kNumbers), std::end(kNumbers), kind) != std::end(kNumbers) ? "number"
                                                                                         : kind;
}

absl::Status Unsupported(const std::string& kind, absl::string_view rule) {
  return absl::UnimplementedError(absl::StrCat("rule ", kind, ".", rule, " is not supported"));
}

}  // namespace

std::string Describe(const Check& check, const Value& value) {
  return absl::StrCat(check.expectation, ", got ", ToText(value));
}

const buf::validate::FieldRules& RulesOf(const FieldDescriptor& field) {
  static const buf::validate::FieldRules* const kMaskRules = [] {
    auto* rules = new buf::validate::FieldRules;
    rules->mutable_repeated()->set_max_items(1000);
    return rules;
  }();
  if (field.full_name() == "google.protobuf.FieldMask.paths") return *kMaskRules;
  return field.options().GetExtension(buf::validate::field);
}

absl::StatusOr<std::vector<Check>> CompileRules(const std::string& kind, const Message& rules) {
  const Reflection& reflection = *rules.GetReflection();
  std::vector<const FieldDescriptor*> set_rules;
  reflection.ListFields(rules, &set_rules);
  Checks checks;
  for (const FieldDescriptor* rule : set_rules) {
    const auto* row = std::find_if(std::begin(kRules), std::end(kRules), [&](const RuleRow& row) {
      return row.group == GroupOf(kind) && row.rule == rule->name() && !rule->is_extension();
    });
    if (row == std::end(kRules)) return Unsupported(kind, rule->name());
    Compiled compiled = row->compile({kind, rules, *rule});
    if (!compiled.ok()) return compiled.status();
    std::move(compiled->begin(), compiled->end(), std::back_inserter(checks));
  }
  // A rule of a newer or extended buf/validate/validate.proto.
  const google::protobuf::UnknownFieldSet& unknown = reflection.GetUnknownFields(rules);
  if (!unknown.empty()) return Unsupported(kind, absl::StrCat("#", unknown.field(0).number()));
  return checks;
}

Check TimestampValid() {
  return {"timestamp.valid", "must have nanos from 0 to 999999999", [](const Value& value) {
            const int32_t nanos = std::get<Instant>(value).nanos;
            return nanos >= 0 && nanos <= 999'999'999;
          }};
}

}  // namespace energysites
