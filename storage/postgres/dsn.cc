#include "storage/postgres/dsn.h"

#include <libpq-fe.h>

#include <cstdlib>
#include <map>
#include <memory>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/string_view.h"

namespace energysites::storage {
namespace {

using Parameters = std::map<std::string, std::string>;

absl::StatusOr<Parameters> Parse(const std::string& url) {
  char* error = nullptr;
  const std::unique_ptr<PQconninfoOption, decltype(&PQconninfoFree)> options(
      PQconninfoParse(url.c_str(), &error), PQconninfoFree);
  PQfreemem(error);  // libpq's text may quote the secret.
  if (options == nullptr) {
    return absl::InvalidArgumentError("the database URL is neither a libpq DSN nor a URI");
  }
  Parameters parameters;
  for (const PQconninfoOption* option = options.get(); option->keyword != nullptr; ++option) {
    if (option->val != nullptr) parameters[option->keyword] = option->val;
  }
  return parameters;
}

std::string Join(const Parameters& parameters) {
  std::string dsn;
  for (const auto& [keyword, value] : parameters) {
    absl::StrAppend(&dsn, dsn.empty() ? "" : " ", keyword, "='",
                    absl::StrReplaceAll(value, {{"\\", "\\\\"}, {"'", "\\'"}}), "'");
  }
  return dsn;
}

}  // namespace

absl::StatusOr<std::string> CompleteDsn(const std::string& url) {
  absl::StatusOr<Parameters> parameters = Parse(url);
  if (!parameters.ok()) return parameters.status();
  if (std::getenv("PGAPPNAME") == nullptr) parameters->insert({"application_name", "energy-sites"});
  if (std::getenv("PGCONNECT_TIMEOUT") == nullptr) parameters->insert({"connect_timeout", "2"});
  parameters->insert({{"keepalives_idle", "5"},
                      {"keepalives_interval", "2"},
                      {"keepalives_count", "3"},
                      {"tcp_user_timeout", "10000"}});
  (*parameters)["client_encoding"] = "UTF8";
  return Join(*parameters);
}

absl::StatusOr<std::string> UserOfDsn(const std::string& url) {
  absl::StatusOr<Parameters> parameters = Parse(url);
  if (!parameters.ok()) return parameters.status();
  const auto found = parameters->find("user");
  if (found != parameters->end()) return found->second;
  // PGUSER, or else the user of this process.
  const std::unique_ptr<PQconninfoOption, decltype(&PQconninfoFree)> defaults(PQconndefaults(),
                                                                              PQconninfoFree);
  const PQconninfoOption* option = defaults.get();
  while (option != nullptr && option->keyword != nullptr) {
    if (option->keyword == absl::string_view("user") && option->val != nullptr) return option->val;
    ++option;
  }
  return absl::InvalidArgumentError("the database URL names no user");
}

std::string DsnWithoutSecrets(const std::string& url) {
  absl::StatusOr<Parameters> parameters = Parse(url);
  if (!parameters.ok()) return "(unreadable)";
  for (const char* secret : {"password", "sslpassword"}) {
    const auto found = parameters->find(secret);
    if (found != parameters->end()) found->second = "********";
  }
  return Join(*parameters);
}

}  // namespace energysites::storage
