#include "storage/configurations/configuration_repository.h"

#include <algorithm>

#include "absl/strings/string_view.h"
#include "storage/configurations/configuration_columns.h"
#include "storage/errors/errors.h"
#include "storage/postgres/etag.h"
#include "storage/postgres/query.h"
#include "storage/sites/site_repository.h"

namespace energysites::storage {
namespace {

using google::protobuf::Empty;
using v1::Configuration;

// What a validate_only call answers.
Configuration WithoutOutputs(Configuration configuration) {
  configuration.clear_id();
  configuration.clear_etag();
  configuration.clear_create_time();
  configuration.clear_update_time();
  configuration.DiscardUnknownFields();
  return configuration;
}

// `{columns}` are those that ConfigurationFromRow reads.
Statement Compose(const char* name, absl::string_view sql) {
  return ComposeStatement(name, sql,
                          {{"{columns}", ConfigurationColumns()},
                           {"{settable}", SettableColumns()},
                           {"{values}", SettablePlaceholders(/*first=*/2)},
                           {"{assignments}", SettableAssignments(/*mask=*/4, /*first=*/5)}});
}

// The site's key is held to the end, so that a deletion either sees this row or is seen here.
const Statement kCreateConfiguration = Compose("create_configuration", R"sql(
  WITH site AS (
    SELECT id FROM sites WHERE id = $1 AND delete_time IS NULL FOR KEY SHARE
  )
  INSERT INTO configurations (site_id, {settable})
  SELECT id, {values} FROM site
  RETURNING {columns}
)sql");

// A place is a configuration's index in the parameters, from 1 on.
const Statement kGetConfigurations = Compose("get_configurations", R"sql(
  SELECT {columns}, place
  FROM unnest($1::bigint[], $2::bigint[]) WITH ORDINALITY AS wanted (site_id, id, place)
  JOIN configurations USING (site_id, id)
  WHERE site_id <> ALL(ARRAY(SELECT sites.id FROM sites WHERE delete_time IS NOT NULL))
)sql");

const Statement kListConfigurationsOfSite = Compose("list_configurations_of_site", R"sql(
  SELECT {columns} FROM configurations
  WHERE site_id = $1 AND id > $2
    AND EXISTS (SELECT FROM sites WHERE id = $1 AND delete_time IS NULL)
  ORDER BY site_id, id LIMIT $3
)sql");

const Statement kListConfigurations = Compose("list_configurations", R"sql(
  SELECT {columns} FROM configurations
  WHERE (site_id, id) > ($1, $2)
    AND site_id <> ALL(ARRAY(SELECT sites.id FROM sites WHERE delete_time IS NOT NULL))
  ORDER BY site_id, id LIMIT $3
)sql");

// $3 is empty where no etag was sent. $4 holds the names of the columns to change.
const Statement kUpdateConfiguration = Compose("update_configuration", R"sql(
  UPDATE configurations SET {assignments}, etag = etag + 1, update_time = now()
  WHERE site_id = $1 AND id = $2 AND ($3 = '' OR etag::text = $3)
    AND EXISTS (SELECT FROM sites WHERE id = $1 AND delete_time IS NULL)
  RETURNING {columns}
)sql");

constexpr Statement kDeleteConfiguration = {"delete_configuration", R"sql(
  DELETE FROM configurations
  WHERE site_id = $1 AND id = $2 AND ($3 = '' OR etag::text = $3)
    AND EXISTS (SELECT FROM sites WHERE id = $1 AND delete_time IS NULL)
  RETURNING id
)sql"};

// What Update would store, for validate_only.
Configuration Merge(Configuration stored, const Configuration& sent,
                    const std::vector<std::string>& fields) {
  const auto* descriptor = Configuration::descriptor();
  const auto* reflection = Configuration::GetReflection();
  Configuration masked = sent;
  for (int i = 0; i < descriptor->field_count(); ++i) {
    const auto* field = descriptor->field(i);
    const bool changes = std::find(fields.begin(), fields.end(), field->name()) != fields.end();
    reflection->ClearField(changes ? &stored : &masked, field);
  }
  stored.MergeFrom(masked);
  return stored;
}

Rows FindConfigurations(pqxx::transaction_base& tx,
                        const std::vector<ConfigurationRepository::Key>& keys) {
  Array<int64_t> site_ids, ids;
  for (const auto& key : keys) {
    site_ids.Add(key.site_id);
    ids.Add(key.id);
  }
  return Query(tx, kGetConfigurations, {site_ids, ids});
}

}  // namespace

Statements ConfigurationRepository::AllStatements() {
  return {&kCreateConfiguration, &kGetConfigurations,   &kListConfigurationsOfSite,
          &kListConfigurations,  &kUpdateConfiguration, &kDeleteConfiguration};
}

absl::StatusOr<Configuration> ConfigurationRepository::Create(
    const v1::CreateConfigurationRequest& request,
    const std::optional<WriteRequest>& write_request) {
  const Configuration& sent = request.configuration();
  if (request.validate_only()) {
    return CheckWrite(session_, write_request,
                      [&](pqxx::work& tx) -> absl::StatusOr<Configuration> {
                        const absl::Status found = CheckSites(tx, {sent.site_id()});
                        if (!found.ok()) return found;
                        return WithoutOutputs(sent);
                      });
  }
  return WriteOnce(session_, write_request, [&](pqxx::work& tx) -> absl::StatusOr<Configuration> {
    Parameters parameters = {sent.site_id()};
    AppendSettableFields(sent, parameters);
    const Rows rows = Query(tx, kCreateConfiguration, parameters);
    if (rows.empty()) return SiteNotFound(sent.site_id());
    return ConfigurationFromRow(rows, 0);
  });
}

std::vector<absl::StatusOr<Configuration>> ConfigurationRepository::GetMany(
    const std::vector<Key>& keys) {
  using Results = std::vector<absl::StatusOr<Configuration>>;
  auto results = session_.Autocommit([&](pqxx::nontransaction& tx) -> absl::StatusOr<Results> {
    Results found;
    for (const Key& key : keys) found.push_back(ConfigurationNotFound(key.site_id, key.id));
    const Rows rows = FindConfigurations(tx, keys);
    for (int row = 0; row < rows.size(); ++row) {
      found[rows.Int64(row, ConfigurationColumnCount()) - 1] = ConfigurationFromRow(rows, row);
    }
    return found;
  });
  return results.ok() ? *std::move(results) : Results(keys.size(), results.status());
}

absl::StatusOr<std::vector<Configuration>> ConfigurationRepository::List(int64_t site_id,
                                                                         const Page& page) {
  const int64_t after_site_id = page.last_key.empty() ? 0 : page.last_key[0];
  const int64_t after_id = page.last_key.empty() ? 0 : page.last_key[1];
  return session_.Transact([&](pqxx::work& tx) -> absl::StatusOr<std::vector<Configuration>> {
    const Rows rows = site_id == 0
                          ? Query(tx, kListConfigurations, {after_site_id, after_id, page.limit})
                          : Query(tx, kListConfigurationsOfSite, {site_id, after_id, page.limit});
    if (rows.empty() && site_id != 0) {
      const absl::Status found = CheckSites(tx, {site_id});
      if (!found.ok()) return found;
    }
    std::vector<Configuration> configurations;
    for (int row = 0; row < rows.size(); ++row) {
      configurations.push_back(ConfigurationFromRow(rows, row));
    }
    return configurations;
  });
}

absl::StatusOr<Configuration> ConfigurationRepository::Update(
    const v1::UpdateConfigurationRequest& request, const std::vector<std::string>& fields) {
  const Configuration& sent = request.configuration();
  return session_.Transact([&](pqxx::work& tx) -> absl::StatusOr<Configuration> {
    if (!request.validate_only()) {
      Array<absl::string_view> mask;
      for (const std::string& field : fields) mask.Add(field);
      Parameters parameters = {sent.site_id(), sent.id(), EtagParameter(sent.etag()), mask};
      AppendSettableFields(sent, parameters);
      const Rows updated = Query(tx, kUpdateConfiguration, parameters);
      if (!updated.empty()) return ConfigurationFromRow(updated, 0);
    }
    const Rows rows = FindConfigurations(tx, {{sent.site_id(), sent.id()}});
    if (rows.empty()) return ConfigurationNotFound(sent.site_id(), sent.id());
    const Configuration stored = ConfigurationFromRow(rows, 0);
    if (!request.validate_only() || !EtagMatches(sent.etag(), stored.etag())) {
      return StaleEtag("configuration");
    }
    return WithoutOutputs(Merge(stored, sent, fields));
  });
}

absl::StatusOr<Empty> ConfigurationRepository::Delete(
    const v1::DeleteConfigurationRequest& request) {
  return session_.Transact([&](pqxx::work& tx) -> absl::StatusOr<Empty> {
    if (!request.validate_only()) {
      const Rows deleted = Query(tx, kDeleteConfiguration,
                                 {request.site_id(), request.id(), EtagParameter(request.etag())});
      if (!deleted.empty()) return Empty();
    }
    const Rows rows = FindConfigurations(tx, {{request.site_id(), request.id()}});
    if (rows.empty()) return ConfigurationNotFound(request.site_id(), request.id());
    const Configuration stored = ConfigurationFromRow(rows, 0);
    if (!request.validate_only() || !EtagMatches(request.etag(), stored.etag())) {
      return StaleEtag("configuration");
    }
    return Empty();
  });
}

}  // namespace energysites::storage
