#include "storage/sites/site_repository.h"

#include <algorithm>
#include <map>

#include "absl/strings/str_cat.h"
#include "storage/errors/errors.h"
#include "storage/postgres/etag.h"
#include "storage/postgres/query.h"

namespace energysites::storage {
namespace {

using google::protobuf::Empty;

// The site in `row` of a statement that selects, in this order: id, name, location, etag,
// create_time, update_time.
v1::Site SiteFromRow(const Rows& rows, int row) {
  v1::Site site;
  site.set_id(rows.Int64(row, 0));
  site.set_name(rows.String(row, 1));
  site.set_location(rows.String(row, 2));
  site.set_etag(absl::StrCat(rows.Int64(row, 3)));
  *site.mutable_create_time() = rows.Stamp(row, 4).ToTimestamp();
  *site.mutable_update_time() = rows.Stamp(row, 5).ToTimestamp();
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
  RETURNING id, name, location, etag, create_time, update_time
)sql"};

constexpr Statement kGetSites = {"get_sites", R"sql(
  SELECT id, name, location, etag, create_time, update_time
  FROM sites WHERE id = ANY($1::bigint[]) AND delete_time IS NULL
)sql"};

constexpr Statement kFindUnknownSite = {"find_unknown_site", R"sql(
  SELECT asked.id FROM unnest($1::bigint[]) WITH ORDINALITY AS asked (id, place)
  LEFT JOIN sites ON sites.id = asked.id AND sites.delete_time IS NULL
  WHERE sites.id IS NULL ORDER BY asked.place LIMIT 1
)sql"};

constexpr Statement kListSites = {"list_sites", R"sql(
  SELECT id, name, location, etag, create_time, update_time
  FROM sites WHERE id > $1 AND delete_time IS NULL ORDER BY id LIMIT $2
)sql"};

// $2 and $3 are null where the mask leaves the column alone; $4 is empty where no etag was sent.
constexpr Statement kUpdateSite = {"update_site", R"sql(
  UPDATE sites SET name = coalesce($2, name), location = coalesce($3, location),
                   etag = etag + 1, update_time = now()
  WHERE id = $1 AND delete_time IS NULL AND ($4 = '' OR etag::text = $4)
  RETURNING id, name, location, etag, create_time, update_time
)sql"};

// Finds a site whose deletion has begun, too, so that the deletion can go on.
constexpr Statement kFindSiteToDelete = {"find_site_to_delete", R"sql(
  SELECT etag FROM sites WHERE id = $1
)sql"};

constexpr Statement kBeginDeletion = {"begin_deletion", R"sql(
  UPDATE sites SET delete_time = now()
  WHERE id = $1 AND ($2 = '' OR etag::text = $2)
  RETURNING id
)sql"};

// Locks the site for a transaction of a DeleteSite call: those of other calls wait, and the new
// delete_time keeps maintenance away.
constexpr Statement kContinueDeletion = {"continue_deletion", R"sql(
  UPDATE sites SET delete_time = now() WHERE id = $1 AND delete_time IS NOT NULL RETURNING id
)sql"};

// Sites whose deletion no call has continued for longer than a part of it takes.
constexpr Statement kFindAbandonedSites = {"find_abandoned_sites", R"sql(
  SELECT id FROM sites WHERE delete_time < now() - interval '10 seconds'
  ORDER BY delete_time, id LIMIT 100
)sql"};

// Locks the site for a transaction of maintenance. Finds nothing if a call continues the deletion.
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

// Invalidations have no key: several transactions may have invalidated one bucket.
constexpr Statement kDeleteSomeInvalidations = {"delete_some_invalidations", R"sql(
  DELETE FROM live_data_dirty_buckets
  WHERE ctid = ANY(ARRAY(SELECT ctid FROM live_data_dirty_buckets WHERE site_id = $1 LIMIT $2))
)sql"};

// The foreign keys delete the configurations, too, and entries and rollups that were being stored
// when the deletion began: their transactions hold the site's key, and this waits for them.
constexpr Statement kDeleteSite = {"delete_site", R"sql(
  DELETE FROM sites WHERE id = $1
)sql"};

constexpr Statement kDeleteSiteInvalidations = {"delete_site_invalidations", R"sql(
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

Array<int64_t> ArrayOf(const std::vector<int64_t>& ids) {
  Array<int64_t> array;
  for (const int64_t id : ids) array.Add(id);
  return array;
}

// Deletes a part of the data of a site whose deletion has begun: in several transactions, which
// begin with `lock`, up to `limit` rows each; when nothing is left, the site. Returns Unfinished
// while there is more to do.
absl::StatusOr<Empty> DeletePart(Session& session, int64_t id, const Statement& lock,
                                 int64_t limit) {
  for (const Statement* part :
       {&kDeleteSomeLiveData, &kDeleteSomeRollups, &kDeleteSomeInvalidations}) {
    const auto deleted = session.Transact([&](pqxx::work& tx) -> absl::StatusOr<int64_t> {
      if (Query(tx, lock, {id}).empty()) return 0;
      return Query(tx, *part, {id, limit}).affected();
    });
    if (!deleted.ok()) return deleted.status();
    if (*deleted == limit) return Unfinished();
  }
  return session.Transact([&](pqxx::work& tx) -> absl::StatusOr<Empty> {
    if (Query(tx, lock, {id}).empty()) return Empty();
    Query(tx, kDeleteSite, {id});
    Query(tx, kDeleteSiteInvalidations, {id});
    Query(tx, kDeleteSiteRequests, {id});
    return Empty();
  });
}

}  // namespace

absl::Status CheckSites(const pqxx::transaction_base& tx, const std::vector<int64_t>& ids) {
  const Rows unknown = Query(tx, kFindUnknownSite, {ArrayOf(ids)});
  return unknown.empty() ? absl::OkStatus() : SiteNotFound(unknown.Int64(0, 0));
}

Statements SiteRepository::AllStatements() {
  return {&kCreateSite,
          &kGetSites,
          &kFindUnknownSite,
          &kListSites,
          &kUpdateSite,
          &kFindSiteToDelete,
          &kBeginDeletion,
          &kContinueDeletion,
          &kFindAbandonedSites,
          &kLockAbandonedSite,
          &kDeleteSomeLiveData,
          &kDeleteSomeRollups,
          &kDeleteSomeInvalidations,
          &kDeleteSite,
          &kDeleteSiteInvalidations,
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
    return SiteFromRow(Query(tx, kCreateSite, {request.site().name(), request.site().location()}),
                       0);
  });
}

std::vector<absl::StatusOr<v1::Site>> SiteRepository::GetMany(const std::vector<int64_t>& ids) {
  using Sites = std::map<int64_t, v1::Site>;
  const auto found = session_.Autocommit([&](pqxx::nontransaction& tx) -> absl::StatusOr<Sites> {
    Sites sites;
    const Rows rows = Query(tx, kGetSites, {ArrayOf(ids)});
    for (int row = 0; row < rows.size(); ++row) {
      v1::Site site = SiteFromRow(rows, row);
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
    const Rows rows = Query(tx, kListSites, {after_id, page.limit});
    std::vector<v1::Site> sites;
    for (int row = 0; row < rows.size(); ++row) sites.push_back(SiteFromRow(rows, row));
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
      const Rows updated =
          Query(tx, kUpdateSite, {sent.id(), name, location, EtagParameter(sent.etag())});
      if (!updated.empty()) return SiteFromRow(updated, 0);
      // A lost race is an expected answer, not a fault: it comes back as no row.
    }
    const Rows rows = Query(tx, kGetSites, {ArrayOf({sent.id()})});
    if (rows.empty()) return SiteNotFound(sent.id());
    const v1::Site stored = SiteFromRow(rows, 0);
    if (!request.validate_only() || !EtagMatches(sent.etag(), stored.etag())) {
      return StaleEtag("site");
    }
    v1::Site site = WithoutOutputs(stored);
    if (name.has_value()) site.set_name(*name);
    if (location.has_value()) site.set_location(*location);
    return site;
  });
}

absl::StatusOr<Empty> SiteRepository::Delete(const v1::DeleteSiteRequest& request) {
  const auto begun = session_.Transact([&](pqxx::work& tx) -> absl::StatusOr<Empty> {
    const Rows rows = Query(tx, kFindSiteToDelete, {request.id()});
    if (rows.empty()) return SiteNotFound(request.id());
    const std::string stored = absl::StrCat(rows.Int64(0, 0));
    if (!EtagMatches(request.etag(), stored)) return StaleEtag("site");
    if (request.validate_only()) return Empty();
    if (Query(tx, kBeginDeletion, {request.id(), EtagParameter(request.etag())}).empty()) {
      return StaleEtag("site");
    }
    return Empty();
  });
  if (!begun.ok() || request.validate_only()) return begun;
  return DeletePart(session_, request.id(), kContinueDeletion, kRowsDeletedAtOnce);
}

absl::StatusOr<std::vector<int64_t>> FindAbandonedSites(Session& session) {
  return session.Transact([](pqxx::work& tx) -> absl::StatusOr<std::vector<int64_t>> {
    std::vector<int64_t> sites;
    const Rows rows = Query(tx, kFindAbandonedSites);
    for (int row = 0; row < rows.size(); ++row) sites.push_back(rows.Int64(row, 0));
    return sites;
  });
}

absl::StatusOr<bool> ContinueDeletion(Session& session, int64_t site_id, int limit) {
  const absl::Status deleted = DeletePart(session, site_id, kLockAbandonedSite, limit).status();
  if (!deleted.ok() && !IsUnfinished(deleted)) return deleted;
  return IsUnfinished(deleted);
}

}  // namespace energysites::storage
