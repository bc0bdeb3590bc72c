#include "storage/live_data/rollup_columns.h"

#include <algorithm>
#include <cstdint>
#include <iterator>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"

namespace energysites::storage {
namespace {

using v1::FieldSummary;
using v1::LiveDataBucket;

// The fields of entries that are summarized, and those that are counted where they are true: the
// one place of storage, beside the migration, to change for a new one.
struct SummarizedField {
  const char* name;
  const FieldSummary& (LiveDataBucket::*get)() const;
  FieldSummary* (LiveDataBucket::*mutable_get)();
};
constexpr SummarizedField kSummarized[] = {
    {"soc", &LiveDataBucket::soc, &LiveDataBucket::mutable_soc},
    {"load_kwh", &LiveDataBucket::load_kwh, &LiveDataBucket::mutable_load_kwh},
    {"net_load_kwh", &LiveDataBucket::net_load_kwh, &LiveDataBucket::mutable_net_load_kwh},
};
struct CountedField {
  const char* name;
  int64_t (LiveDataBucket::*get)() const;
  void (LiveDataBucket::*set)(int64_t);
};
constexpr CountedField kCounted[] = {
    {"pv_notification", &LiveDataBucket::pv_notification_count,
     &LiveDataBucket::set_pv_notification_count},
    {"bio_notification", &LiveDataBucket::bio_notification_count,
     &LiveDataBucket::set_bio_notification_count},
    {"cro_notification", &LiveDataBucket::cro_notification_count,
     &LiveDataBucket::set_cro_notification_count},
};

// The columns of a summarized field, as ReadSummary reads them.
constexpr int kSummaryColumns = 5;

// A list with `entries`, and `summary` and `count` for each field, where `@` stands for its name.
std::string ListOf(const char* entries, const char* summary, const char* count) {
  std::string list = entries;
  const auto append = [&](const char* item, const char* name) {
    if (*item == '\0') return;
    absl::StrAppend(&list, list.empty() ? "" : ", ", absl::StrReplaceAll(item, {{"@", name}}));
  };
  for (const SummarizedField& field : kSummarized) append(summary, field.name);
  for (const CountedField& field : kCounted) append(count, field.name);
  return list;
}

FieldSummary ReadSummary(const Rows& rows, int row, int column) {
  FieldSummary summary;
  summary.set_min(rows.Double(row, column));
  summary.set_max(rows.Double(row, column + 1));
  summary.set_sum(rows.Double(row, column + 2));
  summary.set_first(rows.Double(row, column + 3));
  summary.set_last(rows.Double(row, column + 4));
  return summary;
}

void MergeSummary(const FieldSummary& later, FieldSummary& summary) {
  summary.set_min(std::min(summary.min(), later.min()));
  summary.set_max(std::max(summary.max(), later.max()));
  summary.set_sum(summary.sum() + later.sum());
  summary.set_last(later.last());
}

}  // namespace

std::string RollupColumns(const char* prefix) {
  return absl::StrReplaceAll(ListOf("#entries", "#@_min, #@_max, #@_sum, #@_first, #@_last", "#@s"),
                             {{"#", prefix}});
}

std::string RolledUpColumns() { return ListOf("", "@", "@"); }

std::string RollupOfEntries() {
  // Sums with a value from 1e290 on become Infinity, so that no number of smaller ones overflows,
  // which would be an error.
  return ListOf("count(*) AS entries",
                "min(@) AS @_min, max(@) AS @_max, "
                "sum(CASE WHEN @ < 1e290 THEN @ ELSE 'Infinity' END) AS @_sum, "
                "(array_agg(@))[1] AS @_first, (array_agg(@))[count(*)] AS @_last",
                "count(*) FILTER (WHERE @) AS @s");
}

std::string RollupOfRollups() {
  return ListOf("sum(entries)::bigint AS entries",
                "min(@_min) AS @_min, max(@_max) AS @_max, sum(@_sum) AS @_sum",
                "sum(@s)::bigint AS @s");
}

std::string FirstColumns() { return ListOf("", "@_first", ""); }

std::string LastColumns() { return ListOf("", "@_last", ""); }

void ReadRollup(const Rows& rows, int row, int column, LiveDataBucket& bucket) {
  bucket.set_count(rows.Int64(row, column++));
  for (const SummarizedField& field : kSummarized) {
    *(bucket.*field.mutable_get)() = ReadSummary(rows, row, column);
    column += kSummaryColumns;
  }
  for (const CountedField& field : kCounted) (bucket.*field.set)(rows.Int64(row, column++));
}

void MergeRollup(const LiveDataBucket& later, LiveDataBucket& bucket) {
  bucket.set_count(bucket.count() + later.count());
  for (const SummarizedField& field : kSummarized) {
    MergeSummary((later.*field.get)(), *(bucket.*field.mutable_get)());
  }
  for (const CountedField& field : kCounted) {
    (bucket.*field.set)((bucket.*field.get)() + (later.*field.get)());
  }
}

void SetAverages(LiveDataBucket& bucket) {
  for (const SummarizedField& field : kSummarized) {
    FieldSummary& summary = *(bucket.*field.mutable_get)();
    summary.set_avg(summary.sum() / static_cast<double>(bucket.count()));
  }
}

}  // namespace energysites::storage
