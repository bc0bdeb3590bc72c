#include "storage/live_data/live_data_export.h"

#include <algorithm>
#include <set>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "energysites/v1/live_data.pb.h"
#include "google/protobuf/empty.pb.h"
#include "storage/errors/errors.h"
#include "storage/postgres/connection.h"
#include "storage/postgres/query.h"

namespace energysites::storage {
namespace {

using google::protobuf::Empty;

// Where partitions may begin: those there are, found by their names, which make_live_data_month
// gives them, and the window's ends, beyond which others take what is left.
constexpr Statement kListSegments = {"list_live_data_segments", R"sql(
  SELECT to_timestamp(substring(relname FROM 11), 'YYYY_MM') AS begin_time
  FROM pg_catalog.pg_class
  WHERE relnamespace = 'public'::regnamespace AND relname ~ '^live_data_\d{4}_\d{2}$'
  UNION SELECT end_month FROM live_data_window
  UNION SELECT first_month FROM live_data_window
  ORDER BY begin_time
)sql"};

constexpr Statement kFindExportedSites = {"find_exported_sites", R"sql(
  SELECT id FROM sites WHERE id = ANY($1::bigint[]) AND delete_time IS NULL
)sql"};

struct Segment {
  Moment begin;
  Moment end;
};

// `range` cut where partitions begin. A month that is made later lies in a gap between two that
// are there, and is read with the one before.
absl::StatusOr<std::vector<Segment>> Segments(Session& session, const LiveDataRange& range) {
  return session.Autocommit([&](pqxx::nontransaction& tx) -> absl::StatusOr<std::vector<Segment>> {
    if (!range.site_ids.empty()) {
      Array<int64_t> wanted;
      for (const int64_t id : range.site_ids) wanted.Add(id);
      const Rows rows = Query(tx, kFindExportedSites, {wanted});
      std::set<int64_t> known;
      for (int row = 0; row < rows.size(); ++row) known.insert(rows.Int64(row, 0));
      for (const int64_t id : range.site_ids) {
        if (known.count(id) == 0) return SiteNotFound(id);
      }
    }
    std::vector<Segment> segments;
    const Rows rows = Query(tx, kListSegments);
    Moment begin = range.begin;
    for (int row = 0; row < rows.size(); ++row) {
      const Moment bound = rows.Stamp(row, 0);
      if (bound.microseconds <= begin.microseconds) continue;
      if (bound.microseconds >= range.end.microseconds) break;
      segments.push_back({begin, bound});
      begin = bound;
    }
    if (begin.microseconds < range.end.microseconds) segments.push_back({begin, range.end});
    return segments;
  });
}

std::string Literal(Moment moment) {
  if (moment.microseconds == Moment::BeforeAll().microseconds) return "'-infinity'";
  if (moment.microseconds == Moment::AfterAll().microseconds) return "'infinity'";
  return absl::StrCat("'", SqlFromTimestamp(moment.ToTimestamp()), "'");
}

// COPY takes no parameters, so its text is put together: from numbers, moments and the names of
// columns of ours, never from what a caller wrote. Constants also let the planner leave out, and so
// not even lock, all other partitions.
std::string CopyText(const LiveDataRange& range, const Segment& segment) {
  std::vector<std::string> columns;
  for (const int field : range.fields) {
    columns.push_back(v1::LiveDataEntry::descriptor()->FindFieldByNumber(field)->name());
  }
  std::string text = absl::StrCat("COPY (SELECT ", absl::StrJoin(columns, ", "),
                                  " FROM live_data WHERE dt_stamp >= ", Literal(segment.begin),
                                  " AND dt_stamp < ", Literal(segment.end));
  if (range.site_ids.empty()) {
    absl::StrAppend(
        &text, " AND site_id <> ALL(ARRAY(SELECT id FROM sites WHERE delete_time IS NOT NULL))");
  } else {
    absl::StrAppend(&text, " AND site_id IN (", absl::StrJoin(range.site_ids, ","),
                    ") ORDER BY site_id, dt_stamp, id");
  }
  return absl::StrCat(text, ") TO STDOUT (FORMAT binary)");
}

uint32_t BigEndian(absl::string_view bytes, size_t size) {
  uint32_t value = 0;
  for (size_t i = 0; i < size; ++i) value = value << 8 | static_cast<unsigned char>(bytes[i]);
  return value;
}

// Hands on the rows of a piece of binary COPY; `at_start` while the header is to come.
absl::Status TakeRows(absl::string_view piece, bool* at_start, const TakeRow& take_row) {
  constexpr size_t kSignature = 11, kFlags = 4, kExtensionLength = 4, kFieldCount = 2;
  if (*at_start) {
    *at_start = false;
    const size_t extension = BigEndian(piece.substr(kSignature + kFlags), kExtensionLength);
    piece.remove_prefix(kSignature + kFlags + kExtensionLength + extension);
    if (piece.empty()) return absl::OkStatus();
  }
  // The trailer is a count of -1 and nothing behind it.
  if (piece.size() == kFieldCount) return absl::OkStatus();
  return take_row(piece.substr(kFieldCount));
}

}  // namespace

Statements LiveDataExportStatements() { return {&kListSegments, &kFindExportedSites}; }

absl::Status ExportLiveData(Session& session, const LiveDataRange& range, const TakeRow& take_row) {
  const absl::StatusOr<std::vector<Segment>> segments = Segments(session, range);
  if (!segments.ok()) return segments.status();
  for (const Segment& segment : *segments) {
    // Rows that were handed on cannot be taken back: a segment is tried once.
    const auto read = session.ReadOnce([&](pqxx::read_transaction&) -> absl::StatusOr<Empty> {
      CopyOut copy(session.connection(), CopyText(range, segment));
      absl::string_view piece;
      bool at_start = true;
      while (copy.Next(&piece)) {
        // The reader may be slow; the database is not silent meanwhile.
        const Connection::Waiting pause(session.connection(), false);
        const absl::Status taken = TakeRows(piece, &at_start, take_row);
        if (!taken.ok()) return taken;
      }
      return Empty();
    });
    if (!read.ok()) return read.status();
  }
  return absl::OkStatus();
}

}  // namespace energysites::storage
