#include "storage/live_data/live_data_rows.h"

#include "storage/postgres/moment.h"

namespace energysites::storage {

std::string EntryColumns() {
  return "id, site_id, dt_stamp, soc, load_kwh, net_load_kwh, "
         "pv_notification, bio_notification, cro_notification, create_time";
}

v1::LiveDataEntry EntryFromRow(const Rows& rows, int row) {
  v1::LiveDataEntry entry;
  entry.set_id(rows.Int64(row, 0));
  entry.set_site_id(rows.Int64(row, 1));
  *entry.mutable_dt_stamp() = rows.Stamp(row, 2).ToTimestamp();
  entry.set_soc(rows.Double(row, 3));
  entry.set_load_kwh(rows.Double(row, 4));
  entry.set_net_load_kwh(rows.Double(row, 5));
  entry.set_pv_notification(rows.Bool(row, 6));
  entry.set_bio_notification(rows.Bool(row, 7));
  entry.set_cro_notification(rows.Bool(row, 8));
  *entry.mutable_create_time() = rows.Stamp(row, 9).ToTimestamp();
  return entry;
}

v1::LiveDataEntry AsStored(const v1::LiveDataEntry& sent) {
  v1::LiveDataEntry entry;
  entry.set_site_id(sent.site_id());
  *entry.mutable_dt_stamp() = CutToMicroseconds(sent.dt_stamp());
  entry.set_soc(sent.soc());
  entry.set_load_kwh(sent.load_kwh());
  entry.set_net_load_kwh(sent.net_load_kwh());
  entry.set_pv_notification(sent.pv_notification());
  entry.set_bio_notification(sent.bio_notification());
  entry.set_cro_notification(sent.cro_notification());
  return entry;
}

}  // namespace energysites::storage
