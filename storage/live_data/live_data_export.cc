#include "storage/live_data/live_data_export.h"

#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "energysites/v1/live_data.pb.h"
#include "google/protobuf/empty.pb.h"
#include "storage/postgres/connection.h"
#include "storage/postgres/query.h"
#include "storage/sites/site_repository.h"

namespace energysites::storage {
namespace {

using google::protobuf::Empty;

// Where partitions may begin: the months that have one, known by the names that
// make_live_data_month gives them, and the ends of the window, beyond which other partitions hold
// all entries.
constexpr Statement kListSegments = {"list_live_data_segments", R"sql(
  SELECT to_timestamp(substring(relname FROM 11), 'YYYY_MM') AS begin_time
  FROM pg_catalog.pg_class
  WHERE relnamespace = 'public'::regnamespace AND relname ~ '^live_data_\d{4}_\d{2}$'
  UNION SELECT end_month FROM live_data_window
  UNION SELECT first_month FROM live_data_window
  ORDER BY begin_time
)sql"};

struct Segment {
  Moment begin;
  Moment end;
};

// `range` cut where partitions begin. A month that is made later lies between two of them, and is
// read with the one before.
absl::StatusOr<std::vector<Segment>> Segments(Session& session, const LiveDataRange& range) {
  return session.Autocommit([&](pqxx::nontransaction& tx) -> absl::StatusOr<std::vector<Segment>> {
    if (!range.site_ids.empty()) {
      const absl::Status found = CheckSites(tx, range.site_ids);
      if (!found.ok()) return found;
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

// COPY takes no parameters, so its text is composed of numbers, timestamps and column names, never
// of a caller's text. With constants the planner also prunes all other partitions, and does not
// lock them.
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

// Passes on the rows of a piece of binary COPY; `at_start` until the header was read.
absl::Status TakeRows(absl::string_view piece, bool* at_start, const TakeRow& take_row) {
  constexpr size_t kSignature = 11, kFlags = 4, kExtensionLength = 4, kFieldCount = 2;
  if (*at_start) {
    *at_start = false;
    const size_t extension = BigEndian(piece.substr(kSignature + kFlags), kExtensionLength);
    piece.remove_prefix(kSignature + kFlags + kExtensionLength + extension);
    if (piece.empty()) return absl::OkStatus();
  }
  // The trailer is a field count of -1 alone.
  if (piece.size() == kFieldCount) return absl::OkStatus();
  return take_row(piece.substr(kFieldCount));
}

}  // namespace

Statements LiveDataExportStatements() { return {&kListSegments}; }

absl::Status ExportLiveData(Session& session, const LiveDataRange& range, const TakeRow& take_row) {
  const absl::StatusOr<std::vector<Segment>> segments = Segments(session, range);
  if (!segments.ok()) return segments.status();
  for (const Segment& segment : *segments) {
    // Rows that were passed on cannot be revoked: a segment is tried once.
    const auto read = session.ReadOnce([&](pqxx::read_transaction&) -> absl::StatusOr<Empty> {
      CopyOut copy(session.connection(), CopyText(range, segment));
      absl::string_view piece;
      bool at_start = true;
      while (copy.Next(&piece)) {
        // The reader may be slow, which is not the time of the database.
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
