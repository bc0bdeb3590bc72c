#include "services/site_scope.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace energysites {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using Path = std::vector<const FieldDescriptor*>;

// Walks from a message down the rest of the path.
class Walk {
 public:
  Walk(const std::set<int64_t>& sites, std::vector<Violation>& violations)
      : sites_(sites), violations_(violations) {}

  void From(const Message& message, Path::const_iterator next, Path::const_iterator end,
            const std::string& prefix) {
    const FieldDescriptor* const field = *next;
    const auto* reflection = message.GetReflection();
    const std::string place = absl::StrCat(prefix, field->name());
    const bool is_last = next + 1 == end;
    if (!field->is_repeated()) {
      if (is_last) return See(place, reflection->GetInt64(message, field));
      return From(reflection->GetMessage(message, field), next + 1, end, place + ".");
    }
    const int size = reflection->FieldSize(message, field);
    if (is_last && size == 0) See(place, 0);
    for (int i = 0; i < size; ++i) {
      const std::string item = absl::StrCat(place, "[", i, "]");
      if (is_last) {
        See(item, reflection->GetRepeatedInt64(message, field, i));
      } else {
        From(reflection->GetRepeatedMessage(message, field, i), next + 1, end, item + ".");
      }
    }
  }

 private:
  void See(const std::string& place, int64_t site) {
    if (sites_.count(site) > 0) return;
    violations_.push_back(
        {place, kSiteNotInToken,
         site == 0
             ? "must name a site: the caller's token is bound to sites"
             : absl::StrCat("must be a site that the caller's token is bound to, not ", site)});
  }

  const std::set<int64_t>& sites_;
  std::vector<Violation>& violations_;
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

std::vector<Violation> SiteScope::Check(const Message& request, const Caller& caller) const {
  std::vector<Violation> violations;
  if (!caller.sites.has_value()) return violations;
  if (path_.empty()) {
    violations.push_back({"", kSiteNotInToken, "is not for callers whose token is bound to sites"});
    return violations;
  }
  Walk(*caller.sites, violations).From(request, path_.begin(), path_.end(), "");
  return violations;
}

}  // namespace energysites
