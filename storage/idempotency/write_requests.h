// The stored answers of calls with a request_id, so that a retry gets the first answer.
#ifndef STORAGE_IDEMPOTENCY_WRITE_REQUESTS_H_
#define STORAGE_IDEMPOTENCY_WRITE_REQUESTS_H_

#include <cstdint>
#include <optional>
#include <pqxx/pqxx>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "storage/postgres/session.h"
#include "storage/postgres/statement.h"

namespace energysites::storage {

// The site_id of calls that are not about one site.
constexpr int64_t kNoSite = 0;

struct WriteRequest {
  int64_t site_id = kNoSite;
  std::string request_id;
  // Distinguishes requests that use the same id.
  std::string hash;
};

Statements WriteRequestStatements();

// For each call the bytes of its first answer, nothing if it is new or its site is being deleted,
// ALREADY_EXISTS if its id was used for another request.
std::vector<absl::StatusOr<std::optional<std::string>>> FindAnswers(
    pqxx::work& tx, const std::vector<const WriteRequest*>& requests);

// Fails with a unique violation, which Transact retries, if a call with the same id was faster.
void StoreAnswers(pqxx::work& tx,
                  const std::vector<std::pair<const WriteRequest*, std::string>>& answers);

// Deletes up to `limit` of the answers older than `ttl`. Returns how many.
absl::StatusOr<int64_t> ForgetRequests(Session& session, absl::Duration ttl, int64_t limit);

template <class Response>
absl::StatusOr<Response> ParseAnswer(const std::string& bytes) {
  Response response;
  if (!response.ParseFromString(bytes)) return absl::DataLossError("a stored answer is broken");
  return response;
}

inline absl::Status NoCheck(pqxx::work&) { return absl::OkStatus(); }

// Runs `write` (pqxx::work& -> StatusOr<Response>) in a transaction, at most once for the same
// request: a repeated one gets the first answer. Without a request just runs it.
//
// `check` (pqxx::work& -> Status) runs before with a request that has kNoSite: it finds whether the
// sites are there. That of other requests is looked up with the answer.
template <class Write, class Check = decltype(&NoCheck)>
auto WriteOnce(Session& session, const std::optional<WriteRequest>& request, Write write,
               Check check = NoCheck) -> decltype(write(std::declval<pqxx::work&>())) {
  using Result = decltype(write(std::declval<pqxx::work&>()));
  return session.Transact([&](pqxx::work& tx) -> Result {
    if (!request.has_value()) return write(tx);
    const absl::Status checked = check(tx);
    if (!checked.ok()) return checked;
    const auto answer = FindAnswers(tx, {&*request}).front();
    if (!answer.ok()) return answer.status();
    if (answer->has_value()) return ParseAnswer<typename Result::value_type>(**answer);
    Result result = write(tx);
    if (result.ok()) StoreAnswers(tx, {{&*request, result->SerializeAsString()}});
    return result;
  });
}

// The dry run of WriteOnce, for validate_only: checks what `check` checks, and then the request_id.
template <class Check>
auto CheckWrite(Session& session, const std::optional<WriteRequest>& request, Check check)
    -> decltype(check(std::declval<pqxx::work&>())) {
  using Result = decltype(check(std::declval<pqxx::work&>()));
  return session.Transact([&](pqxx::work& tx) -> Result {
    Result checked = check(tx);
    if (!checked.ok() || !request.has_value()) return checked;
    const auto answer = FindAnswers(tx, {&*request}).front();
    return answer.ok() ? std::move(checked) : answer.status();
  });
}

}  // namespace energysites::storage

#endif  // STORAGE_IDEMPOTENCY_WRITE_REQUESTS_H_
