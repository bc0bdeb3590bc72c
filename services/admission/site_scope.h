// Which sites a request names, and whether its caller may use them.
#ifndef SERVICES_ADMISSION_SITE_SCOPE_H_
#define SERVICES_ADMISSION_SITE_SCOPE_H_

#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/message.h"
#include "services/admission/caller.h"
#include "validation/violation.h"

namespace energysites {

// The rule id of what SiteScope finds.
inline constexpr char kSiteNotInToken[] = "SITE_NOT_IN_TOKEN";

// The path of a request that names no sites: it is about all of them, or about a new one.
inline constexpr char kAllSites[] = "";

// The rule of one request type. Safe from any thread.
class SiteScope {
 public:
  // `path` leads to the int64 field that names the request's site or sites, such as
  // `entries.site_id`. Returns INTERNAL if there is no such field.
  static absl::StatusOr<SiteScope> Compile(const google::protobuf::Descriptor& request,
                                           absl::string_view path);

  // A violation for each site of the request outside of those that the caller is bound to. One that
  // names no site means all sites, which no bound caller may use.
  void Check(const google::protobuf::Message& request, const Caller& caller,
             ViolationSink& violations) const;

 private:
  std::vector<const google::protobuf::FieldDescriptor*> path_;
};

}  // namespace energysites

#endif  // SERVICES_ADMISSION_SITE_SCOPE_H_
