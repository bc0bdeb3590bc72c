#include "storage/sites/site_repository.h"

#include <algorithm>
#include <map>

#include "storage/errors/errors.h"
#include "storage/postgres/sql_array.h"

namespace energysites::storage {
namespace {

using google::protobuf::Empty;

v1::Site SiteFromRow(const pqxx::row& row) {
  v1::Site site;
  site.set_id(row["id"].as<int64_t>());
  site.set_name(row["name"].c_str());
  site.set_location(row["location"].c_str());
  site.set_etag(row["etag"].c_str());
  *site.mutable_create_time() = TimestampFromField(row["create_time"]);
  *site.mutable_update_time() = TimestampFromField(row["update_time"]);
  return site;
}

// What a validate_only call answers.
v1::Site WithoutOutputs(v1::Site site) {
  site.clear_id();
  site.clear_etag();
  site.clear_create_time();
  site.clear_update_time();
  site.DiscardUnknownFields();
  return site;
}

constexpr Statement kCreateSite = {"create_site", R"sql(
  INSERT INTO sites (name, location) VALUES ($1, $2)
  RETURNING id, name, location, etag,
            (extract(epoch FROM create_time) * 1000000)::bigint AS create_time,
            (extract(epoch FROM update_time) * 1000000)::bigint AS update_time
)sql"};

constexpr Statement kGetSites = {"get_sites", R"sql(
  SELECT id, name, location, etag,
         (extract(epoch FROM create_time) * 1000000)::bigint AS create_time,
         (extract(epoch FROM update_time) * 1000000)::bigint AS update_time
  FROM sites WHERE id = ANY($1::bigint[]) AND delete_time IS NULL
)sql"};

constexpr Statement kListSites = {"list_sites", R"sql(
  SELECT id, name, location, etag,
         (extract(epoch FROM create_time) * 1000000)::bigint AS create_time,
         (extract(epoch FROM update_time) * 1000000)::bigint AS update_time
  FROM sites WHERE id > $1 AND delete_time IS NULL ORDER BY id LIMIT $2
)sql"};

// $2 and $3 are null where the mask leaves the column alone; $4 is empty where no etag was sent.
constexpr Statement kUpdateSite = {"update_site", R"sql(
  UPDATE sites SET name = coalesce($2, name), location = coalesce($3, location),
                   etag = etag + 1, update_time = now()
  WHERE id = $1 AND delete_time IS NULL AND ($4 = '' OR etag::text = $4)
  RETURNING id, name, location, etag,
            (extract(epoch FROM create_time) * 1000000)::bigint AS create_time,
            (extract(epoch FROM update_time) * 1000000)::bigint AS update_time
)sql"};

// A site that an earlier call marked is found again, so that its deletion can go on.
constexpr Statement kFindSiteToDelete = {"find_site_to_delete", R"sql(
  SELECT etag FROM sites WHERE id = $1
)sql"};

constexpr Statement kMarkSite = {"mark_site", R"sql(
  UPDATE sites SET delete_time = now()
  WHERE id = $1 AND ($2 = '' OR etag::text = $2)
  RETURNING id
)sql"};

// For a transaction of a call that deletes: those of other calls wait, and the new delete_time
// keeps maintenance away.
constexpr Statement kContinueDeletion = {"continue_deletion", R"sql(
  UPDATE sites SET delete_time = now() WHERE id = $1 AND delete_time IS NOT NULL RETURNING id
)sql"};

// Sites whose deletion no call has continued for a time that is longer than a part of it takes.
constexpr Statement kFindAbandonedSites = {"find_abandoned_sites", R"sql(
  SELECT id FROM sites WHERE delete_time < now() - interval '10 seconds'
  ORDER BY delete_time, id LIMIT 100
)sql"};

// The same for a transaction of maintenance. Finds nothing if a call goes on meanwhile.
constexpr Statement kLockAbandonedSite = {"lock_abandoned_site", R"sql(
  SELECT id FROM sites WHERE id = $1 AND delete_time < now() - interval '10 seconds'
  FOR NO KEY UPDATE SKIP LOCKED
)sql"};

constexpr Statement kDeleteSomeLiveData = {"delete_some_live_data", R"sql(
  DELETE FROM live_data AS entry
  USING (SELECT site_id, dt_stamp, id FROM live_data WHERE site_id = $1
         ORDER BY site_id, dt_stamp, id LIMIT $2) AS doomed
  WHERE entry.site_id = doomed.site_id AND entry.dt_stamp = doomed.dt_stamp
    AND entry.id = doomed.id
)sql"};

constexpr Statement kDeleteSomeRollups = {"delete_some_rollups", R"sql(
  DELETE FROM live_data_rollups AS rollup
  USING (SELECT site_id, bucket FROM live_data_rollups WHERE site_id = $1
         ORDER BY site_id, bucket LIMIT $2) AS doomed
  WHERE rollup.site_id = doomed.site_id AND rollup.bucket = doomed.bucket
)sql"};

// Marks have no key: several transactions may have marked one bucket.
constexpr Statement kDeleteSomeDirtyBuckets = {"delete_some_dirty_buckets", R"sql(
  DELETE FROM live_data_dirty_buckets
  WHERE ctid = ANY(ARRAY(SELECT ctid FROM live_data_dirty_buckets WHERE site_id = $1 LIMIT $2))
)sql"};

// The foreign keys take the configurations along, and entries and rollups that were under way when
// the site was marked: their transactions hold the site's key, and this waits for them.
constexpr Statement kDeleteSite = {"delete_site", R"sql(
  DELETE FROM sites WHERE id = $1
)sql"};

constexpr Statement kDeleteSiteDirtyBuckets = {"delete_site_dirty_buckets", R"sql(
  DELETE FROM live_data_dirty_buckets WHERE site_id = $1
)sql"};

constexpr Statement kDeleteSiteRequests = {"delete_site_requests", R"sql(
  DELETE FROM write_requests WHERE site_id = $1
)sql"};

std::optional<std::string> IfMasked(const std::vector<std::string>& fields, const char* field,
                                    const std::string& value) {
  const bool masked = std::find(fields.begin(), fields.end(), field) != fields.end();
  return masked ? std::make_optional(value) : std::nullopt;
}

std::string ArrayOf(const std::vector<int64_t>& ids) {
  SqlArray array;
  for (const int64_t id : ids) array.Add(id);
  return array.Take();
}

// Deletes some of what a marked site has, up to `limit` rows in each of the transactions that each
// begin with `lock`; when nothing is left, the site. Returns Unfinished while there is more to do.
absl::StatusOr<Empty> DeletePart(Session& session, int64_t id, const Statement& lock, int limit) {
  for (const Statement* part :
       {&kDeleteSomeLiveData, &kDeleteSomeRollups, &kDeleteSomeDirtyBuckets}) {
    const auto deleted = session.Transact([&](pqxx::work& tx) -> absl::StatusOr<int64_t> {
      if (tx.exec_prepared(lock.name, id).empty()) return 0;
      return tx.exec_prepared(part->name, id, limit).affected_rows();
    });
    if (!deleted.ok()) return deleted.status();
    if (*deleted == limit) return Unfinished();
  }
  return session.Transact([&](pqxx::work& tx) -> absl::StatusOr<Empty> {
    if (tx.exec_prepared(lock.name, id).empty()) return Empty();
    tx.exec_prepared0(kDeleteSite.name, id);
    tx.exec_prepared0(kDeleteSiteDirtyBuckets.name, id);
    tx.exec_prepared0(kDeleteSiteRequests.name, id);
    return Empty();
  });
}

bool EtagMatches(const std::string& sent, const pqxx::row& row) {
  return sent.empty() || sent == row["etag"].c_str();
}

}  // namespace

bool SiteExists(pqxx::transaction_base& tx, int64_t id) {
  return !tx.exec_prepared(kGetSites.name, ArrayOf({id})).empty();
}

Statements SiteRepository::AllStatements() {
  return {&kCreateSite,        &kGetSites,
          &kListSites,         &kUpdateSite,
          &kFindSiteToDelete,  &kMarkSite,
          &kContinueDeletion,  &kFindAbandonedSites,
          &kLockAbandonedSite, &kDeleteSomeLiveData,
          &kDeleteSomeRollups, &kDeleteSomeDirtyBuckets,
          &kDeleteSite,        &kDeleteSiteDirtyBuckets,
          &kDeleteSiteRequests};
}

absl::StatusOr<v1::Site> SiteRepository::Create(const v1::CreateSiteRequest& request,
                                                const std::optional<WriteRequest>& write_request) {
  if (request.validate_only()) {
    return CheckWrite(session_, write_request, [&](pqxx::work&) -> absl::StatusOr<v1::Site> {
      return WithoutOutputs(request.site());
    });
  }
  return WriteOnce(session_, write_request, [&](pqxx::work& tx) -> absl::StatusOr<v1::Site> {
    return SiteFromRow(
        tx.exec_prepared1(kCreateSite.name, request.site().name(), request.site().location()));
  });
}

std::vector<absl::StatusOr<v1::Site>> SiteRepository::GetMany(const std::vector<int64_t>& ids) {
  using Sites = std::map<int64_t, v1::Site>;
  const auto found = session_.Autocommit([&](pqxx::nontransaction& tx) -> absl::StatusOr<Sites> {
    Sites sites;
    for (const pqxx::row& row : tx.exec_prepared(kGetSites.name, ArrayOf(ids))) {
      v1::Site site = SiteFromRow(row);
      sites.emplace(site.id(), std::move(site));
    }
    return sites;
  });
  std::vector<absl::StatusOr<v1::Site>> results;
  for (const int64_t id : ids) {
    if (!found.ok()) {
      results.emplace_back(found.status());
    } else if (const auto site = found->find(id); site != found->end()) {
      results.emplace_back(site->second);
    } else {
      results.emplace_back(SiteNotFound(id));
    }
  }
  return results;
}

absl::StatusOr<std::vector<v1::Site>> SiteRepository::List(const Page& page) {
  return session_.Transact([&](pqxx::work& tx) -> absl::StatusOr<std::vector<v1::Site>> {
    const int64_t after_id = page.last_key.empty() ? 0 : page.last_key[0];
    std::vector<v1::Site> sites;
    for (const pqxx::row& row : tx.exec_prepared(kListSites.name, after_id, page.limit)) {
      sites.push_back(SiteFromRow(row));
    }
    return sites;
  });
}

absl::StatusOr<v1::Site> SiteRepository::Update(const v1::UpdateSiteRequest& request,
                                                const std::vector<std::string>& fields) {
  const v1::Site& sent = request.site();
  const auto name = IfMasked(fields, "name", sent.name());
  const auto location = IfMasked(fields, "location", sent.location());
  return session_.Transact([&](pqxx::work& tx) -> absl::StatusOr<v1::Site> {
    if (!request.validate_only()) {
      const pqxx::result updated =
          tx.exec_prepared(kUpdateSite.name, sent.id(), name, location, EtagParameter(sent.etag()));
      if (!updated.empty()) return SiteFromRow(updated.front());
      // A lost race is an expected answer, not a fault: it comes back as no row.
    }
    const pqxx::result stored = tx.exec_prepared(kGetSites.name, ArrayOf({sent.id()}));
    if (stored.empty()) return SiteNotFound(sent.id());
    if (!request.validate_only() || !EtagMatches(sent.etag(), stored.front())) {
      return StaleEtag("site");
    }
    v1::Site site = WithoutOutputs(SiteFromRow(stored.front()));
    if (name.has_value()) site.set_name(*name);
    if (location.has_value()) site.set_location(*location);
    return site;
  });
}

absl::StatusOr<Empty> SiteRepository::Delete(const v1::DeleteSiteRequest& request) {
  const auto marked = session_.Transact([&](pqxx::work& tx) -> absl::StatusOr<Empty> {
    const pqxx::result stored = tx.exec_prepared(kFindSiteToDelete.name, request.id());
    if (stored.empty()) return SiteNotFound(request.id());
    if (!EtagMatches(request.etag(), stored.front())) return StaleEtag("site");
    if (request.validate_only()) return Empty();
    if (tx.exec_prepared(kMarkSite.name, request.id(), EtagParameter(request.etag())).empty()) {
      return StaleEtag("site");
    }
    return Empty();
  });
  if (!marked.ok() || request.validate_only()) return marked;
  return DeletePart(session_, request.id(), kContinueDeletion, kRowsDeletedAtOnce);
}

absl::StatusOr<std::vector<int64_t>> FindAbandonedSites(Session& session) {
  return session.Transact([](pqxx::work& tx) -> absl::StatusOr<std::vector<int64_t>> {
    std::vector<int64_t> sites;
    for (const pqxx::row& row : tx.exec_prepared(kFindAbandonedSites.name)) {
      sites.push_back(row["id"].as<int64_t>());
    }
    return sites;
  });
}

absl::StatusOr<bool> ContinueDeletion(Session& session, int64_t site_id, int limit) {
  const absl::Status deleted = DeletePart(session, site_id, kLockAbandonedSite, limit).status();
  if (!deleted.ok() && !IsUnfinished(deleted)) return deleted;
  return IsUnfinished(deleted);
}

}  // namespace energysites::storage
