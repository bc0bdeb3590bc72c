#include "storage/idempotency/write_requests.h"

#include "absl/time/clock.h"
#include "storage/errors/errors.h"
#include "storage/postgres/query.h"

namespace energysites::storage {
namespace {

// A place is the row's index in the parameters, from 1 on. Answers for a site that is being deleted
// count as deleted with it.
constexpr Statement kFindAnswers = {"find_answers", R"sql(
  SELECT wanted.place, stored.request_hash, stored.response
  FROM unnest($1::bigint[], $2::text[]::uuid[]) WITH ORDINALITY AS wanted (site_id, request_id, place)
  JOIN write_requests AS stored
    ON stored.site_id = wanted.site_id AND stored.request_id = wanted.request_id
  WHERE NOT EXISTS (SELECT FROM sites WHERE sites.id = wanted.site_id AND delete_time IS NOT NULL)
)sql"};

// In the order of the key, so that two calls of this cannot wait for each other.
constexpr Statement kStoreAnswers = {"store_answers", R"sql(
  INSERT INTO write_requests (site_id, request_id, request_hash, response)
  SELECT site_id, request_id, request_hash, response
  FROM unnest($1::bigint[], $2::text[]::uuid[], $3::bytea[], $4::bytea[])
    AS answer (site_id, request_id, request_hash, response)
  ORDER BY site_id, request_id
)sql"};

// $3 is the age limit by this machine's clock: if only one of the clocks is ahead, nothing is
// deleted. Skips what another process is deleting.
constexpr Statement kForgetRequests = {"forget_requests", R"sql(
  DELETE FROM write_requests AS request
  USING (SELECT site_id, request_id FROM write_requests
         WHERE create_time < least(now() - $1::bigint * interval '1 millisecond',
                                   to_timestamp($3::bigint / 1000.0))
         ORDER BY create_time LIMIT $2 FOR UPDATE SKIP LOCKED) AS old
  WHERE request.site_id = old.site_id AND request.request_id = old.request_id
)sql"};

}  // namespace

Statements WriteRequestStatements() { return {&kFindAnswers, &kStoreAnswers, &kForgetRequests}; }

std::vector<absl::StatusOr<std::optional<std::string>>> FindAnswers(
    pqxx::work& tx, const std::vector<const WriteRequest*>& requests) {
  Array<int64_t> site_ids;
  Array<absl::string_view> request_ids;
  for (const WriteRequest* request : requests) {
    site_ids.Add(request->site_id);
    request_ids.Add(request->request_id);
  }
  std::vector<absl::StatusOr<std::optional<std::string>>> answers(requests.size(), std::nullopt);
  const Rows rows = Query(tx, kFindAnswers, {site_ids, request_ids});
  for (int row = 0; row < rows.size(); ++row) {
    const size_t i = rows.Int64(row, 0) - 1;
    if (rows.Text(row, 1) == requests[i]->hash) {
      answers[i] = rows.String(row, 2);
    } else {
      answers[i] = RequestIdReused(requests[i]->request_id);
    }
  }
  return answers;
}

void StoreAnswers(pqxx::work& tx,
                  const std::vector<std::pair<const WriteRequest*, std::string>>& answers) {
  if (answers.empty()) return;
  Array<int64_t> site_ids;
  Array<absl::string_view> request_ids;
  Array<Bytea> hashes, responses;
  for (const auto& [request, answer] : answers) {
    site_ids.Add(request->site_id);
    request_ids.Add(request->request_id);
    hashes.Add({request->hash});
    responses.Add({answer});
  }
  Query(tx, kStoreAnswers, {site_ids, request_ids, hashes, responses});
}

absl::StatusOr<int64_t> ForgetRequests(Session& session, absl::Duration ttl, int64_t limit) {
  return session.Transact([&](pqxx::work& tx) -> absl::StatusOr<int64_t> {
    return Query(tx, kForgetRequests,
                 {absl::ToInt64Milliseconds(ttl), limit, absl::ToUnixMillis(absl::Now() - ttl)})
        .affected();
  });
}

}  // namespace energysites::storage
