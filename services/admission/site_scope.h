// Checks that a caller may use the sites in a request.
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

// The rule id of the violations that SiteScope adds.
inline constexpr char kSiteNotInToken[] = "SITE_NOT_IN_TOKEN";

// The path for a request without a site field: it applies to all sites or to a new one.
inline constexpr char kAllSites[] = "";

// The site check of one request type. Thread-safe.
class SiteScope {
 public:
  // `path` is the path of the int64 field with the site ids of the request, such as
  // `entries.site_id`. Returns INTERNAL if there is no such field.
  static absl::StatusOr<SiteScope> Compile(const google::protobuf::Descriptor& request,
                                           absl::string_view path);

  // If the caller is restricted to sites, adds a violation for each other site in the request. A
  // request without a site id applies to all sites and is a violation, too.
  void Check(const google::protobuf::Message& request, const Caller& caller,
             ViolationSink& violations) const;

 private:
  std::vector<const google::protobuf::FieldDescriptor*> path_;
};

}  // namespace energysites

#endif  // SERVICES_ADMISSION_SITE_SCOPE_H_
