#include "storage/configurations/configuration_repository.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "storage/errors/errors.h"
#include "storage/postgres/etag.h"
#include "storage/postgres/query.h"
#include "storage/sites/site_repository.h"

namespace energysites::storage {
namespace {

using google::protobuf::Empty;
using v1::Configuration;

Configuration ConfigurationFromRow(const Rows& rows, int row) {
  Configuration configuration;
  configuration.set_id(rows.Int64(row, 0));
  configuration.set_site_id(rows.Int64(row, 1));
  configuration.set_battery_vendor(rows.String(row, 2));
  configuration.set_battery_capacity_kwh(rows.Double(row, 3));
  configuration.set_battery_max_power_kw(rows.Double(row, 4));
  configuration.set_production_pv_units(rows.Int32(row, 5));
  configuration.set_production_bio_units(rows.Int32(row, 6));
  configuration.set_production_cro_units(rows.Int32(row, 7));
  if (!rows.IsNull(row, 8)) configuration.set_production_pv_kwp(rows.Double(row, 8));
  if (!rows.IsNull(row, 9)) configuration.set_production_cro_kwp(rows.Double(row, 9));
  configuration.set_etag(absl::StrCat(rows.Int64(row, 10)));
  *configuration.mutable_create_time() = rows.Stamp(row, 11).ToTimestamp();
  *configuration.mutable_update_time() = rows.Stamp(row, 12).ToTimestamp();
  return configuration;
}

// What a validate_only call answers.
Configuration WithoutOutputs(Configuration configuration) {
  configuration.clear_id();
  configuration.clear_etag();
  configuration.clear_create_time();
  configuration.clear_update_time();
  configuration.DiscardUnknownFields();
  return configuration;
}

// Where the columns of a statement go on behind those of a configuration.
constexpr int kConfigurationColumns = 13;

// The site's key is held to the end, so that a deletion either sees this row or is seen here.
constexpr Statement kCreateConfiguration = {"create_configuration", R"sql(
  WITH site AS (
    SELECT id FROM sites WHERE id = $1 AND delete_time IS NULL FOR KEY SHARE
  )
  INSERT INTO configurations (
    site_id, battery_vendor, battery_capacity_kwh, battery_max_power_kw, production_pv_units,
    production_bio_units, production_cro_units, production_pv_kwp, production_cro_kwp)
  SELECT id, $2, $3, $4, $5, $6, $7, $8, $9 FROM site
  RETURNING id, site_id, battery_vendor, battery_capacity_kwh, battery_max_power_kw,
            production_pv_units, production_bio_units, production_cro_units, production_pv_kwp,
            production_cro_kwp, etag, create_time, update_time
)sql"};

// A place is a configuration's index in the parameters, from 1 on.
constexpr Statement kGetConfigurations = {"get_configurations", R"sql(
  SELECT id, site_id, battery_vendor, battery_capacity_kwh, battery_max_power_kw,
         production_pv_units, production_bio_units, production_cro_units, production_pv_kwp,
         production_cro_kwp, etag, create_time, update_time, place
  FROM unnest($1::bigint[], $2::bigint[]) WITH ORDINALITY AS wanted (site_id, id, place)
  JOIN configurations USING (site_id, id)
  WHERE site_id <> ALL(ARRAY(SELECT sites.id FROM sites WHERE delete_time IS NOT NULL))
)sql"};

constexpr Statement kListConfigurationsOfSite = {"list_configurations_of_site", R"sql(
  SELECT id, site_id, battery_vendor, battery_capacity_kwh, battery_max_power_kw,
         production_pv_units, production_bio_units, production_cro_units, production_pv_kwp,
         production_cro_kwp, etag, create_time, update_time
  FROM configurations
  WHERE site_id = $1 AND id > $2
    AND EXISTS (SELECT FROM sites WHERE id = $1 AND delete_time IS NULL)
  ORDER BY site_id, id LIMIT $3
)sql"};

constexpr Statement kListConfigurations = {"list_configurations", R"sql(
  SELECT id, site_id, battery_vendor, battery_capacity_kwh, battery_max_power_kw,
         production_pv_units, production_bio_units, production_cro_units, production_pv_kwp,
         production_cro_kwp, etag, create_time, update_time
  FROM configurations
  WHERE (site_id, id) > ($1, $2)
    AND site_id <> ALL(ARRAY(SELECT sites.id FROM sites WHERE delete_time IS NOT NULL))
  ORDER BY site_id, id LIMIT $3
)sql"};

// $3 is empty where no etag was sent. The others are null where the mask leaves the column alone;
// columns that may be null themselves have a flag before them.
constexpr Statement kUpdateConfiguration = {"update_configuration", R"sql(
  UPDATE configurations SET
    battery_vendor = coalesce($4, battery_vendor),
    battery_capacity_kwh = coalesce($5, battery_capacity_kwh),
    battery_max_power_kw = coalesce($6, battery_max_power_kw),
    production_pv_units = coalesce($7, production_pv_units),
    production_bio_units = coalesce($8, production_bio_units),
    production_cro_units = coalesce($9, production_cro_units),
    production_pv_kwp = CASE WHEN $10 THEN $11 ELSE production_pv_kwp END,
    production_cro_kwp = CASE WHEN $12 THEN $13 ELSE production_cro_kwp END,
    etag = etag + 1, update_time = now()
  WHERE site_id = $1 AND id = $2 AND ($3 = '' OR etag::text = $3)
    AND EXISTS (SELECT FROM sites WHERE id = $1 AND delete_time IS NULL)
  RETURNING id, site_id, battery_vendor, battery_capacity_kwh, battery_max_power_kw,
            production_pv_units, production_bio_units, production_cro_units, production_pv_kwp,
            production_cro_kwp, etag, create_time, update_time
)sql"};

constexpr Statement kDeleteConfiguration = {"delete_configuration", R"sql(
  DELETE FROM configurations
  WHERE site_id = $1 AND id = $2 AND ($3 = '' OR etag::text = $3)
    AND EXISTS (SELECT FROM sites WHERE id = $1 AND delete_time IS NULL)
  RETURNING id
)sql"};

template <class T>
std::optional<T> IfPresent(bool present, const T& value) {
  return present ? std::make_optional(value) : std::nullopt;
}

// The values that an update sets, null where the mask leaves the column alone.
struct Changes {
  Changes(const Configuration& sent, const std::vector<std::string>& fields) {
    const auto masked = [&](const char* field) {
      return std::find(fields.begin(), fields.end(), field) != fields.end();
    };
    vendor = IfPresent(masked("battery_vendor"), sent.battery_vendor());
    capacity_kwh = IfPresent(masked("battery_capacity_kwh"), sent.battery_capacity_kwh());
    max_power_kw = IfPresent(masked("battery_max_power_kw"), sent.battery_max_power_kw());
    pv_units = IfPresent(masked("production_pv_units"), sent.production_pv_units());
    bio_units = IfPresent(masked("production_bio_units"), sent.production_bio_units());
    cro_units = IfPresent(masked("production_cro_units"), sent.production_cro_units());
    set_pv_kwp = masked("production_pv_kwp");
    pv_kwp = IfPresent(sent.has_production_pv_kwp(), sent.production_pv_kwp());
    set_cro_kwp = masked("production_cro_kwp");
    cro_kwp = IfPresent(sent.has_production_cro_kwp(), sent.production_cro_kwp());
  }

  std::optional<std::string> vendor;
  std::optional<double> capacity_kwh, max_power_kw;
  std::optional<int32_t> pv_units, bio_units, cro_units;
  bool set_pv_kwp, set_cro_kwp;
  std::optional<double> pv_kwp, cro_kwp;
};

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
                        if (!SiteExists(tx, sent.site_id())) return SiteNotFound(sent.site_id());
                        return WithoutOutputs(sent);
                      });
  }
  return WriteOnce(session_, write_request, [&](pqxx::work& tx) -> absl::StatusOr<Configuration> {
    const Rows rows = Query(tx, kCreateConfiguration,
                            {sent.site_id(), sent.battery_vendor(), sent.battery_capacity_kwh(),
                             sent.battery_max_power_kw(), sent.production_pv_units(),
                             sent.production_bio_units(), sent.production_cro_units(),
                             IfPresent(sent.has_production_pv_kwp(), sent.production_pv_kwp()),
                             IfPresent(sent.has_production_cro_kwp(), sent.production_cro_kwp())});
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
      found[rows.Int64(row, kConfigurationColumns) - 1] = ConfigurationFromRow(rows, row);
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
    if (rows.empty() && site_id != 0 && !SiteExists(tx, site_id)) return SiteNotFound(site_id);
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
  const Changes changes(sent, fields);
  return session_.Transact([&](pqxx::work& tx) -> absl::StatusOr<Configuration> {
    if (!request.validate_only()) {
      const Rows updated =
          Query(tx, kUpdateConfiguration,
                {sent.site_id(), sent.id(), EtagParameter(sent.etag()), changes.vendor,
                 changes.capacity_kwh, changes.max_power_kw, changes.pv_units, changes.bio_units,
                 changes.cro_units, changes.set_pv_kwp, changes.pv_kwp, changes.set_cro_kwp,
                 changes.cro_kwp});
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
