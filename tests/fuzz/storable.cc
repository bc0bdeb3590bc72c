#include "tests/fuzz/storable.h"

#include <cctype>
#include <cmath>

namespace energysites::fuzz {
namespace {

constexpr int64_t kFirstSecond = -62135596800;  // 0001-01-01T00:00:00Z
constexpr int64_t kLastSecond = 253402300799;   // 9999-12-31T23:59:59Z

// Names and locations: 1 to 255 code points, none of them a control character. `text` is UTF-8.
bool IsName(const std::string& text) {
  int code_points = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    if ((byte & 0xC0) == 0x80) continue;  // Not the first byte of a code point.
    if (byte < 0x20 || byte == 0x7F) return false;
    // U+0080 to U+009F are C2 80 to C2 9F.
    if (byte == 0xC2 && static_cast<unsigned char>(text[i + 1]) < 0xA0) return false;
    ++code_points;
  }
  return code_points >= 1 && code_points <= 255;
}

bool IsAmount(bool is_set, double value) { return is_set && std::isfinite(value) && value >= 0; }

}  // namespace

bool IsNormal(const google::protobuf::Timestamp& stamp) {
  return stamp.nanos() >= 0 && stamp.nanos() <= 999'999'999;
}

bool IsUuid(const std::string& text) {
  constexpr char kShape[] = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";
  if (text.size() != sizeof(kShape) - 1) return false;
  for (size_t i = 0; i < text.size(); ++i) {
    if (kShape[i] == '-' ? text[i] != '-' : !std::isxdigit(static_cast<unsigned char>(text[i]))) {
      return false;
    }
  }
  return true;
}

bool IsStorable(const v1::Site& site, const Stores& stores) {
  return (!stores("name") || (site.has_name() && IsName(site.name()))) &&
         (!stores("location") || (site.has_location() && IsName(site.location())));
}

bool IsStorable(const v1::Configuration& it, const Stores& stores) {
  return (!stores("site_id") || it.site_id() > 0) &&
         (!stores("battery_vendor") || it.battery_vendor() == "Tesla" ||
          it.battery_vendor() == "KATL") &&
         (!stores("battery_capacity_kwh") ||
          IsAmount(it.has_battery_capacity_kwh(), it.battery_capacity_kwh())) &&
         (!stores("battery_max_power_kw") ||
          IsAmount(it.has_battery_max_power_kw(), it.battery_max_power_kw())) &&
         (!stores("production_pv_units") ||
          (it.has_production_pv_units() && it.production_pv_units() >= 0)) &&
         (!stores("production_bio_units") ||
          (it.has_production_bio_units() && it.production_bio_units() >= 0)) &&
         (!stores("production_cro_units") ||
          (it.has_production_cro_units() && it.production_cro_units() >= 0)) &&
         (!stores("production_pv_kwp") || std::isfinite(it.production_pv_kwp())) &&
         (!stores("production_cro_kwp") || std::isfinite(it.production_cro_kwp()));
}

bool IsStorable(const v1::LiveDataEntry& it) {
  return it.site_id() > 0 && it.has_dt_stamp() && IsNormal(it.dt_stamp()) &&
         it.dt_stamp().seconds() >= kFirstSecond && it.dt_stamp().seconds() <= kLastSecond &&
         it.has_soc() && it.soc() >= 0 && it.soc() <= 100 &&
         IsAmount(it.has_load_kwh(), it.load_kwh()) &&
         IsAmount(it.has_net_load_kwh(), it.net_load_kwh()) && it.has_pv_notification() &&
         it.has_bio_notification() && it.has_cro_notification();
}

}  // namespace energysites::fuzz
