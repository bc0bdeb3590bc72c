// What entries come to, the same for a rollup as for an answer from the entries themselves.
#ifndef STORAGE_LIVE_DATA_LIVE_DATA_FOLD_H_
#define STORAGE_LIVE_DATA_LIVE_DATA_FOLD_H_

// The SELECT list over entries that come in the order of (dt_stamp, id) from a subquery, which
// array_agg keeps. In place of a sum that no double can hold, which would be an error, it gives
// Infinity: for all sums with a value from 1e290 on, so that no number of smaller ones gets there.
#define ENERGY_SITES_FOLD_OF_LIVE_DATA                                                  \
  "count(*) AS entries, "                                                               \
  "min(soc) AS soc_min, max(soc) AS soc_max, sum(soc) AS soc_sum, "                     \
  "(array_agg(soc))[1] AS soc_first, (array_agg(soc))[count(*)] AS soc_last, "          \
  "min(load_kwh) AS load_kwh_min, max(load_kwh) AS load_kwh_max, "                      \
  "sum(CASE WHEN load_kwh < 1e290 THEN load_kwh ELSE 'Infinity' END) AS load_kwh_sum, " \
  "(array_agg(load_kwh))[1] AS load_kwh_first, "                                        \
  "(array_agg(load_kwh))[count(*)] AS load_kwh_last, "                                  \
  "min(net_load_kwh) AS net_load_kwh_min, max(net_load_kwh) AS net_load_kwh_max, "      \
  "sum(CASE WHEN net_load_kwh < 1e290 THEN net_load_kwh ELSE 'Infinity' END) "          \
  "AS net_load_kwh_sum, "                                                               \
  "(array_agg(net_load_kwh))[1] AS net_load_kwh_first, "                                \
  "(array_agg(net_load_kwh))[count(*)] AS net_load_kwh_last, "                          \
  "count(*) FILTER (WHERE pv_notification) AS pv_notifications, "                       \
  "count(*) FILTER (WHERE bio_notification) AS bio_notifications, "                     \
  "count(*) FILTER (WHERE cro_notification) AS cro_notifications "

#endif  // STORAGE_LIVE_DATA_LIVE_DATA_FOLD_H_
