#include "storage/configurations/configuration_repository.h"

#include <algorithm>

#include "storage/errors/errors.h"
#include "storage/postgres/sql_array.h"
#include "storage/sites/site_repository.h"

namespace energysites::storage {
namespace {

using google::protobuf::Empty;
using v1::Configuration;

Configuration ConfigurationFromRow(const pqxx::row& row) {
  Configuration configuration;
  configuration.set_id(row["id"].as<int64_t>());
  configuration.set_site_id(row["site_id"].as<int64_t>());
  configuration.set_battery_vendor(row["battery_vendor"].c_str());
  configuration.set_battery_capacity_kwh(row["battery_capacity_kwh"].as<double>());
  configuration.set_battery_max_power_kw(row["battery_max_power_kw"].as<double>());
  configuration.set_production_pv_units(row["production_pv_units"].as<int32_t>());
  configuration.set_production_bio_units(row["production_bio_units"].as<int32_t>());
  configuration.set_production_cro_units(row["production_cro_units"].as<int32_t>());
  if (const pqxx::field kwp = row["production_pv_kwp"]; !kwp.is_null()) {
    configuration.set_production_pv_kwp(kwp.as<double>());
  }
  if (const pqxx::field kwp = row["production_cro_kwp"]; !kwp.is_null()) {
    configuration.set_production_cro_kwp(kwp.as<double>());
  }
  configuration.set_etag(row["etag"].c_str());
  *configuration.mutable_create_time() = TimestampFromField(row["create_time"]);
  *configuration.mutable_update_time() = TimestampFromField(row["update_time"]);
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
            production_cro_kwp, etag,
            (extract(epoch FROM create_time) * 1000000)::bigint AS create_time,
            (extract(epoch FROM update_time) * 1000000)::bigint AS update_time
)sql"};

// A place is a configuration's index in the parameters, from 1 on.
constexpr Statement kGetConfigurations = {"get_configurations", R"sql(
  SELECT id, site_id, battery_vendor, battery_capacity_kwh, battery_max_power_kw,
         production_pv_units, production_bio_units, production_cro_units, production_pv_kwp,
         production_cro_kwp, etag,
         (extract(epoch FROM create_time) * 1000000)::bigint AS create_time,
         (extract(epoch FROM update_time) * 1000000)::bigint AS update_time, place
  FROM unnest($1::bigint[], $2::bigint[]) WITH ORDINALITY AS wanted (site_id, id, place)
  JOIN configurations USING (site_id, id)
  WHERE site_id <> ALL(ARRAY(SELECT sites.id FROM sites WHERE delete_time IS NOT NULL))
)sql"};

constexpr Statement kListConfigurationsOfSite = {"list_configurations_of_site", R"sql(
  SELECT id, site_id, battery_vendor, battery_capacity_kwh, battery_max_power_kw,
         production_pv_units, production_bio_units, production_cro_units, production_pv_kwp,
         production_cro_kwp, etag,
         (extract(epoch FROM create_time) * 1000000)::bigint AS create_time,
         (extract(epoch FROM update_time) * 1000000)::bigint AS update_time
  FROM configurations
  WHERE site_id = $1 AND id > $2
    AND EXISTS (SELECT FROM sites WHERE id = $1 AND delete_time IS NULL)
  ORDER BY site_id, id LIMIT $3
)sql"};

constexpr Statement kListConfigurations = {"list_configurations", R"sql(
  SELECT id, site_id, battery_vendor, battery_capacity_kwh, battery_max_power_kw,
         production_pv_units, production_bio_units, production_cro_units, production_pv_kwp,
         production_cro_kwp, etag,
         (extract(epoch FROM create_time) * 1000000)::bigint AS create_time,
         (extract(epoch FROM update_time) * 1000000)::bigint AS update_time
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
            production_cro_kwp, etag,
            (extract(epoch FROM create_time) * 1000000)::bigint AS create_time,
            (extract(epoch FROM update_time) * 1000000)::bigint AS update_time
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

pqxx::result FindConfigurations(pqxx::transaction_base& tx,
                                const std::vector<ConfigurationRepository::Key>& keys) {
  SqlArray site_ids, ids;
  for (const auto& key : keys) {
    site_ids.Add(key.site_id);
    ids.Add(key.id);
  }
  return tx.exec_prepared(kGetConfigurations.name, site_ids.Take(), ids.Take());
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
    const pqxx::result rows = tx.exec_prepared(
        kCreateConfiguration.name, sent.site_id(), sent.battery_vendor(),
        sent.battery_capacity_kwh(), sent.battery_max_power_kw(), sent.production_pv_units(),
        sent.production_bio_units(), sent.production_cro_units(),
        IfPresent(sent.has_production_pv_kwp(), sent.production_pv_kwp()),
        IfPresent(sent.has_production_cro_kwp(), sent.production_cro_kwp()));
    if (rows.empty()) return SiteNotFound(sent.site_id());
    return ConfigurationFromRow(rows.front());
  });
}

std::vector<absl::StatusOr<Configuration>> ConfigurationRepository::GetMany(
    const std::vector<Key>& keys) {
  using Results = std::vector<absl::StatusOr<Configuration>>;
  auto results = session_.Autocommit([&](pqxx::nontransaction& tx) -> absl::StatusOr<Results> {
    Results found;
    for (const Key& key : keys) found.push_back(ConfigurationNotFound(key.site_id, key.id));
    for (const pqxx::row& row : FindConfigurations(tx, keys)) {
      found[row["place"].as<size_t>() - 1] = ConfigurationFromRow(row);
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
    const pqxx::result rows =
        site_id == 0
            ? tx.exec_prepared(kListConfigurations.name, after_site_id, after_id, page.limit)
            : tx.exec_prepared(kListConfigurationsOfSite.name, site_id, after_id, page.limit);
    if (rows.empty() && site_id != 0 && !SiteExists(tx, site_id)) return SiteNotFound(site_id);
    std::vector<Configuration> configurations;
    for (const pqxx::row& row : rows) configurations.push_back(ConfigurationFromRow(row));
    return configurations;
  });
}

absl::StatusOr<Configuration> ConfigurationRepository::Update(
    const v1::UpdateConfigurationRequest& request, const std::vector<std::string>& fields) {
  const Configuration& sent = request.configuration();
  const Changes changes(sent, fields);
  return session_.Transact([&](pqxx::work& tx) -> absl::StatusOr<Configuration> {
    if (!request.validate_only()) {
      const pqxx::result updated = tx.exec_prepared(
          kUpdateConfiguration.name, sent.site_id(), sent.id(), EtagParameter(sent.etag()),
          changes.vendor, changes.capacity_kwh, changes.max_power_kw, changes.pv_units,
          changes.bio_units, changes.cro_units, changes.set_pv_kwp, changes.pv_kwp,
          changes.set_cro_kwp, changes.cro_kwp);
      if (!updated.empty()) return ConfigurationFromRow(updated.front());
    }
    const pqxx::result rows = FindConfigurations(tx, {{sent.site_id(), sent.id()}});
    if (rows.empty()) return ConfigurationNotFound(sent.site_id(), sent.id());
    const Configuration stored = ConfigurationFromRow(rows.front());
    const bool stale = !sent.etag().empty() && sent.etag() != stored.etag();
    if (!request.validate_only() || stale) return StaleEtag("configuration");
    return WithoutOutputs(Merge(stored, sent, fields));
  });
}

absl::StatusOr<Empty> ConfigurationRepository::Delete(
    const v1::DeleteConfigurationRequest& request) {
  return session_.Transact([&](pqxx::work& tx) -> absl::StatusOr<Empty> {
    if (!request.validate_only()) {
      const pqxx::result deleted = tx.exec_prepared(kDeleteConfiguration.name, request.site_id(),
                                                    request.id(), EtagParameter(request.etag()));
      if (!deleted.empty()) return Empty();
    }
    const pqxx::result rows = FindConfigurations(tx, {{request.site_id(), request.id()}});
    if (rows.empty()) return ConfigurationNotFound(request.site_id(), request.id());
    const bool stale = !request.etag().empty() && request.etag() != rows[0]["etag"].c_str();
    if (!request.validate_only() || stale) return StaleEtag("configuration");
    return Empty();
  });
}

}  // namespace energysites::storage
