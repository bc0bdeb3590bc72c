#include "services/admission/caller.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_join.h"
#include "google/protobuf/struct.pb.h"
#include "google/protobuf/util/json_util.h"
#include "services/errors/errors.h"

namespace energysites {
namespace {

constexpr char kSubjectHeader[] = "x-energy-sites-subject";
constexpr char kSiteIdsHeader[] = "x-energy-sites-site-ids";

bool IsPeerAuthenticated(const grpc::CallbackServerContext& context) {
  const auto auth = context.auth_context();
  return auth != nullptr && auth->IsPeerAuthenticated();
}

std::optional<int64_t> ParseSiteId(const google::protobuf::Value& value) {
  constexpr double kMaxExact = 9007199254740992;  // 2^53
  int64_t id = 0;
  if (value.has_string_value()) {
    const std::string& text = value.string_value();
    // SimpleAtoi also accepts blanks and signs, and rejects an empty string.
    if (!std::all_of(text.begin(), text.end(), absl::ascii_isdigit)) return std::nullopt;
    if (!absl::SimpleAtoi(text, &id)) return std::nullopt;
  } else {
    const double number = value.number_value();
    if (!value.has_number_value() || !(number > 0 && number < kMaxExact)) return std::nullopt;
    id = static_cast<int64_t>(number);
    if (static_cast<double>(id) != number) return std::nullopt;
  }
  if (id <= 0) return std::nullopt;
  return id;
}

absl::StatusOr<Caller> CallerFromHeaders(const grpc::CallbackServerContext& context) {
  const auto& headers = context.client_metadata();
  Caller caller;
  // A repeated header is ambiguous.
  if (headers.count(kSubjectHeader) != 1 || headers.count(kSiteIdsHeader) > 1) {
    return IdentityMissing();
  }
  const grpc::string_ref subject = headers.find(kSubjectHeader)->second;
  if (subject.empty()) return IdentityMissing();
  caller.subject.assign(subject.data(), subject.size());
  const auto site_ids = headers.find(kSiteIdsHeader);
  if (site_ids == headers.end()) return caller;
  caller.sites = ParseSiteIds({site_ids->second.data(), site_ids->second.size()});
  if (!caller.sites.has_value()) return IdentityMissing();
  return caller;
}

}  // namespace

std::string DeviceOf(const Caller& caller) {
  return caller.sites.has_value() ? caller.subject : "";
}

std::optional<std::set<int64_t>> ParseSiteIds(absl::string_view json) {
  google::protobuf::ListValue list;
  if (!google::protobuf::util::JsonStringToMessage({json.data(), json.size()}, &list).ok()) {
    return std::nullopt;
  }
  std::set<int64_t> ids;
  for (const google::protobuf::Value& value : list.values()) {
    const std::optional<int64_t> id = ParseSiteId(value);
    if (!id.has_value()) return std::nullopt;
    ids.insert(*id);
  }
  return ids;
}

absl::StatusOr<Caller> CallerOf(const grpc::CallbackServerContext& context, IdentitySource source) {
  if (source == IdentitySource::kEnvoy) {
    return IsPeerAuthenticated(context) ? CallerFromHeaders(context) : IdentityMissing();
  }
  const auto& headers = context.client_metadata();
  if (headers.count(kSubjectHeader) > 0 || headers.count(kSiteIdsHeader) > 0) {
    return IdentityNotExpected();
  }
  return Caller();
}

std::string OwnerOf(const Caller& caller, const grpc::CallbackServerContext& context) {
  if (!caller.subject.empty()) return caller.subject;
  if (!IsPeerAuthenticated(context)) return "";
  // The names in a certificate may have any encoding.
  return absl::StrJoin(context.auth_context()->GetPeerIdentity(), ",",
                       [](std::string* out, const grpc::string_ref& name) {
                         out->append(absl::CEscape({name.data(), name.size()}));
                       });
}

}  // namespace energysites
