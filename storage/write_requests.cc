#include "storage/write_requests.h"

#include "storage/errors.h"

namespace energysites::storage {
namespace {

constexpr Statement kFindAnswer = {"find_answer", R"sql(
  SELECT request_hash, response FROM write_requests WHERE site_id = $1 AND request_id = $2
)sql"};

constexpr Statement kStoreAnswer = {"store_answer", R"sql(
  INSERT INTO write_requests (site_id, request_id, request_hash, response) VALUES ($1, $2, $3, $4)
)sql"};

// Skips what another process is deleting.
constexpr Statement kForgetRequests = {"forget_requests", R"sql(
  DELETE FROM write_requests AS request
  USING (SELECT site_id, request_id FROM write_requests
         WHERE create_time < now() - $1::bigint * interval '1 millisecond'
         ORDER BY create_time LIMIT $2 FOR UPDATE SKIP LOCKED) AS old
  WHERE request.site_id = old.site_id AND request.request_id = old.request_id
)sql"};

}  // namespace

Statements WriteRequestStatements() { return {&kFindAnswer, &kStoreAnswer, &kForgetRequests}; }

absl::StatusOr<std::optional<std::string>> FindAnswer(pqxx::work& tx, const WriteRequest& request) {
  const pqxx::result rows = tx.exec_prepared(kFindAnswer.name, request.site_id, request.request_id);
  if (rows.empty()) return std::nullopt;
  if (pqxx::binarystring(rows[0]["request_hash"]).str() != request.hash) {
    return RequestIdReused(request.request_id);
  }
  return pqxx::binarystring(rows[0]["response"]).str();
}

void StoreAnswer(pqxx::work& tx, const WriteRequest& request, const std::string& answer) {
  tx.exec_prepared0(kStoreAnswer.name, request.site_id, request.request_id,
                    pqxx::binarystring(request.hash), pqxx::binarystring(answer));
}

absl::StatusOr<int64_t> ForgetRequests(Session& session, absl::Duration ttl) {
  return session.Transact([&](pqxx::work& tx) -> absl::StatusOr<int64_t> {
    return tx
        .exec_prepared(kForgetRequests.name, absl::ToInt64Milliseconds(ttl),
                       kRequestsForgottenAtOnce)
        .affected_rows();
  });
}

}  // namespace energysites::storage
