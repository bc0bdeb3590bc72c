#include "services/admission/site_scope.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace energysites {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using Path = std::vector<const FieldDescriptor*>;

const std::string kRuleId = kSiteNotInToken;

// Checks all values of the field at a path.
class PathChecker {
 public:
  PathChecker(const std::set<int64_t>& sites, ViolationSink& violations)
      : sites_(sites), violations_(violations) {}

  // Checks the values at the fields from `next` to `end` in `message`, which is at path `prefix`.
  void Check(const Message& message, Path::const_iterator next, Path::const_iterator end,
             const std::string& prefix) {
    const FieldDescriptor* const field = *next;
    const auto* reflection = message.GetReflection();
    const std::string path = absl::StrCat(prefix, field->name());
    const bool is_last = next + 1 == end;
    if (!field->is_repeated()) {
      if (is_last) return CheckSite(path, reflection->GetInt64(message, field));
      return Check(reflection->GetMessage(message, field), next + 1, end, path + ".");
    }
    const int size = reflection->FieldSize(message, field);
    if (is_last && size == 0) CheckSite(path, 0);
    const bool is_outermost = index_ < 0;
    if (is_outermost) list_ = field->name();
    for (int i = 0; i < size; ++i) {
      if (is_outermost) index_ = i;
      const std::string item = absl::StrCat(path, "[", i, "]");
      if (is_last) {
        CheckSite(item, reflection->GetRepeatedInt64(message, field, i));
      } else {
        Check(reflection->GetRepeatedMessage(message, field, i), next + 1, end, item + ".");
      }
    }
    if (is_outermost) index_ = -1;
  }

 private:
  void CheckSite(const std::string& path, int64_t site) {
    if (sites_.count(site) > 0 || !violations_.Accepts(list_, index_, kRuleId)) return;
    violations_.Add(
        {path, kRuleId,
         site == 0
             ? "must name a site: the caller's token is bound to sites"
             : absl::StrCat("must be a site that the caller's token is bound to, not ", site)});
  }

  const std::set<int64_t>& sites_;
  ViolationSink& violations_;
  // The current element of the outermost list; -1 outside of lists.
  absl::string_view list_;
  int index_ = -1;
};

}  // namespace

absl::StatusOr<SiteScope> SiteScope::Compile(const google::protobuf::Descriptor& request,
                                             absl::string_view path) {
  SiteScope scope;
  const google::protobuf::Descriptor* message = &request;
  for (const absl::string_view name : absl::StrSplit(path, '.', absl::SkipEmpty())) {
    const FieldDescriptor* field =
        message == nullptr ? nullptr : message->FindFieldByName(std::string(name));
    if (field == nullptr) {
      return absl::InternalError(absl::StrCat(request.full_name(), " has no field ", path));
    }
    scope.path_.push_back(field);
    message = field->message_type();
  }
  if (!scope.path_.empty() && scope.path_.back()->type() != FieldDescriptor::TYPE_INT64) {
    return absl::InternalError(absl::StrCat(request.full_name(), ".", path, " is no int64"));
  }
  return scope;
}

void SiteScope::Check(const Message& request, const Caller& caller,
                      ViolationSink& violations) const {
  if (!caller.sites.has_value()) return;
  if (!path_.empty()) {
    PathChecker(*caller.sites, violations).Check(request, path_.begin(), path_.end(), "");
  } else if (violations.Accepts("", -1, kRuleId)) {
    violations.Add({"", kRuleId, "is not for callers whose token is bound to sites"});
  }
}

}  // namespace energysites
