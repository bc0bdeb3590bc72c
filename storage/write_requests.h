// The memory of calls that carry a request_id, so that a retry gets the first answer.
#ifndef STORAGE_WRITE_REQUESTS_H_
#define STORAGE_WRITE_REQUESTS_H_

#include <cstdint>
#include <optional>
#include <pqxx/pqxx>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "storage/session.h"
#include "storage/statement.h"

namespace energysites::storage {

// site_id of the calls that are not bound to one site.
constexpr int64_t kNoSite = 0;

struct WriteRequest {
  int64_t site_id = kNoSite;
  std::string request_id;
  // Tells requests apart that use the same id.
  std::string hash;
};

Statements WriteRequestStatements();

// The bytes that the call answered the first time, nothing if it is new, ALREADY_EXISTS if the id
// belongs to another request.
absl::StatusOr<std::optional<std::string>> FindAnswer(pqxx::work& tx, const WriteRequest& request);

// Fails with a unique violation, which Transact retries, if a twin of this call was faster.
void StoreAnswer(pqxx::work& tx, const WriteRequest& request, const std::string& answer);

// Deletes the answers older than `ttl`, at most kRequestsForgottenAtOnce. Returns how many.
constexpr int kRequestsForgottenAtOnce = 5000;
absl::StatusOr<int64_t> ForgetRequests(Session& session, absl::Duration ttl);

// Runs `write` (pqxx::work& -> StatusOr<Response>) in a transaction, at most once for the same
// request: a repeated one gets the first answer. Without a request just runs it.
template <class Write>
auto WriteOnce(Session& session, const std::optional<WriteRequest>& request, Write write)
    -> decltype(write(std::declval<pqxx::work&>())) {
  using Result = decltype(write(std::declval<pqxx::work&>()));
  return session.Transact([&](pqxx::work& tx) -> Result {
    if (!request.has_value()) return write(tx);
    const auto answer = FindAnswer(tx, *request);
    if (!answer.ok()) return answer.status();
    if (answer->has_value()) {
      typename Result::value_type first;
      if (!first.ParseFromString(**answer)) return absl::DataLossError("a stored answer is broken");
      return first;
    }
    Result result = write(tx);
    if (result.ok()) StoreAnswer(tx, *request, result->SerializeAsString());
    return result;
  });
}

// The dry run of WriteOnce, for validate_only: checks the request_id and what `check` checks.
template <class Check>
auto CheckWrite(Session& session, const std::optional<WriteRequest>& request, Check check)
    -> decltype(check(std::declval<pqxx::work&>())) {
  using Result = decltype(check(std::declval<pqxx::work&>()));
  return session.Transact([&](pqxx::work& tx) -> Result {
    if (request.has_value()) {
      const auto answer = FindAnswer(tx, *request);
      if (!answer.ok()) return answer.status();
    }
    return check(tx);
  });
}

}  // namespace energysites::storage

#endif  // STORAGE_WRITE_REQUESTS_H_
