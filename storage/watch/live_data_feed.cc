#include "storage/watch/live_data_feed.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "storage/errors/errors.h"
#include "storage/live_data/live_data_rows.h"
#include "storage/postgres/query.h"
#include "storage/postgres/sql_errors.h"

namespace energysites::storage {
namespace {

using std::chrono::milliseconds;

constexpr char kChannel[] = "energy_sites_live_data";

// The least time between two notifications of this process, and between two queries.
constexpr milliseconds kMinPause{50};
// The most time between two queries: a notification may be lost, or the writer sends none.
constexpr milliseconds kMaxPause{1000};
constexpr milliseconds kPauseAfterFailure{250};
// Rows of one query.
constexpr int64_t kChunkEntries = 2000;
constexpr WatchPosition kEnd = {std::numeric_limits<uint64_t>::max(),
                                std::numeric_limits<int64_t>::max()};

// The plan must merge index scans, whatever the statistics are: a partition that was small when the
// plan was made would be sorted at each query. A notification that is lost in a crash does no harm,
// so it need not be on disk.
constexpr char kSettings[] =
    "SET search_path = public, pg_temp; SET synchronous_commit = off"
    "; SET default_transaction_isolation = 'read committed'"
    "; SET statement_timeout = '30s'; SET lock_timeout = '5s'"
    "; SET enable_seqscan = off; SET enable_bitmapscan = off; SET enable_sort = off; SET jit = off"
    "; SET plan_cache_mode = force_generic_plan";

// Entries after ($1, $2), up to ($3, $4). One statement has one snapshot, so no other entry will
// ever be committed below its horizon.
const Statement kReadNewLiveData = ComposeStatement("read_new_live_data", R"sql(
  SELECT {columns}, xid FROM live_data
  WHERE (xid, id) > ($1, $2) AND (xid, id) <= ($3, $4)
    AND xid < pg_snapshot_xmin(pg_current_snapshot())
    AND site_id <> ALL(ARRAY(SELECT sites.id FROM sites WHERE delete_time IS NOT NULL))
  ORDER BY xid, id LIMIT $5
)sql",
                                                    {{"{columns}", EntryColumns()}});

// The last entry in the order, and the next transaction id.
constexpr Statement kFindLiveDataHead = {"find_live_data_head", R"sql(
  SELECT coalesce(head.xid, '0'), coalesce(head.id, 0), pg_snapshot_xmax(pg_current_snapshot())
  FROM (SELECT) AS one LEFT JOIN (
    SELECT xid, id FROM live_data WHERE xid < pg_snapshot_xmin(pg_current_snapshot())
    ORDER BY xid DESC, id DESC LIMIT 1
  ) AS head ON true
)sql"};

// Where the order ends for now, where it would if no transaction were open, and for how many
// seconds the transaction has been open that it ends at. The begin of one of another role is seen
// only with pg_read_all_stats: without it, that of the first writer whose entries wait for it
// counts.
constexpr Statement kFindHorizon = {"find_horizon", R"sql(
  SELECT horizon, next_xid, coalesce(extract(epoch FROM clock_timestamp() - coalesce(
           (SELECT xact_start FROM pg_stat_activity WHERE backend_xid = horizon::xid),
           (SELECT prepared FROM pg_prepared_xacts WHERE transaction = horizon::xid),
           (SELECT create_time FROM live_data WHERE xid > horizon ORDER BY xid, id LIMIT 1)
         )), 0)::float8
  FROM pg_snapshot_xmin(pg_current_snapshot()) AS horizon,
       pg_snapshot_xmax(pg_current_snapshot()) AS next_xid
)sql"};

// xid8 is unsigned; in binary it is the same eight bytes.
uint64_t XidAt(const Rows& rows, int row, int column) {
  return static_cast<uint64_t>(rows.Int64(row, column));
}

Parameter XidParameter(uint64_t xid) { return Parameter(static_cast<int64_t>(xid)); }

Rows QueryAlone(Connection& connection, const Statement& statement,
                const Parameters& parameters = {}) {
  const Connection::Waiting waiting(connection, true);
  return Query(pqxx::nontransaction(connection), statement, parameters);
}

}  // namespace

Statements LiveDataFeed::AllStatements() {
  return {&kReadNewLiveData, &kFindLiveDataHead, &kFindHorizon};
}

LiveDataFeed::LiveDataFeed(const LiveDataFeedOptions& options)
    : options_(options), wake_up_(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {
  thread_ = std::thread([this] { Run(); });
}

LiveDataFeed::~LiveDataFeed() {
  stopping_ = true;
  Wake();
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    // A query of a database that hangs would block the thread for ever.
    if (socket_ >= 0) shutdown(socket_, SHUT_RDWR);
  }
  thread_.join();
  close(wake_up_);
}

void LiveDataFeed::EntriesWritten() {
  if (!entries_written_.exchange(true)) Wake();
}

absl::StatusOr<std::shared_ptr<WatchQueue>> LiveDataFeed::Add(WatchListener* listener,
                                                              std::unordered_set<int64_t> sites,
                                                              std::optional<WatchPosition> resume) {
  auto watcher = std::make_shared<WatchQueue>(listener, std::move(sites), resume, options_.queue);
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (watchers_.size() >= options_.max_watchers) return QueueFull();
    watchers_.push_back(watcher);
  }
  Wake();
  return watcher;
}

void LiveDataFeed::Remove(const std::shared_ptr<WatchQueue>& watcher) {
  watcher->Detach();
  const std::lock_guard<std::mutex> lock(mutex_);
  watchers_.erase(std::remove(watchers_.begin(), watchers_.end(), watcher), watchers_.end());
}

void LiveDataFeed::Wake() {
  // It fails only when the counter is full, and then the thread is awake.
  (void)eventfd_write(wake_up_, 1);
}

size_t LiveDataFeed::watchers() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return watchers_.size();
}

void LiveDataFeed::Run() {
  std::string fault;
  while (!stopping_) {
    Watchers watchers;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      watchers = watchers_;
    }
    if (Clock::now() >= retry_time_) {
      try {
        Work(watchers);
        fault.clear();
      } catch (...) {
        const absl::Status status = StatusFromException();
        const bool is_new = fault != status.message();
        if (is_new && !absl::IsUnavailable(status) && !stopping_) options_.on_fault(status);
        fault = std::string(status.message());
        Disconnect();
        retry_time_ = Clock::now() + kPauseAfterFailure;
      }
    }
    if (Clock::now() - last_tick_ >= kMaxPause) {
      last_tick_ = Clock::now();
      for (const auto& watcher : watchers) watcher->Tick(last_tick_);
    }
    Wait(!watchers.empty());
  }
  Disconnect();
}

void LiveDataFeed::Work(const Watchers& watchers) {
  if (connection_ == nullptr) {
    if (watchers.empty() && !entries_written_) return;
    Connect(watchers);
  }
  TakeNotifications();
  if (entries_written_ && Clock::now() >= notify_time_) Notify();
  more_ = false;
  if (watchers.empty()) {
    notified_ = false;
    head_.reset();
    delay_seconds_ = 0;
    return;
  }
  BeginNewWatchers(watchers);
  const auto now = Clock::now();
  if (now >= look_up_time_ && (notified_ || now - last_look_up_ >= kMaxPause)) {
    LookUp(watchers);
  }
  CatchUp(watchers);
  if (Clock::now() - last_tick_ >= kMaxPause) MeasureDelay();
  // Some may have arrived with the results of queries; the socket is not readable for them.
  TakeNotifications();
}

void LiveDataFeed::Connect(const Watchers& watchers) {
  auto made = std::make_unique<Connection>(options_.dsn, options_.silence_watch,
                                           absl::ToChronoMilliseconds(kMaxSilence));
  Connection& connection = *made;
  {
    // Before the first query, so that the destructor can end that one, too.
    const std::lock_guard<std::mutex> lock(mutex_);
    if (stopping_) throw pqxx::broken_connection("shutting down");
    connection_ = std::move(made);
    socket_ = connection.sock();
  }
  const Connection::Waiting waiting(connection, true);
  pqxx::nontransaction(connection).exec(kSettings + absl::StrCat("; LISTEN ", kChannel));
  // Only a new connection can lead to a database that is not the same, or not as it was.
  const Rows head = QueryAlone(connection, kFindLiveDataHead);
  const uint64_t next_xid = XidAt(head, 0, 2);
  for (const auto& watcher : watchers) watcher->EndIfFrom(next_xid);
  if (head_.has_value() && head_->xid >= next_xid) head_.reset();
  // Some may have been missed while there was no connection.
  notified_ = true;
}

void LiveDataFeed::Disconnect() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    socket_ = -1;
  }
  connection_.reset();
}

void LiveDataFeed::Notify() {
  // Before the NOTIFY, because entries may be stored while it is sent.
  entries_written_ = false;
  notify_time_ = Clock::now() + kMinPause;
  try {
    const Connection::Waiting waiting(*connection_, true);
    pqxx::nontransaction(*connection_).exec(absl::StrCat("NOTIFY ", kChannel));
  } catch (...) {
    entries_written_ = true;
    throw;
  }
  // This connection listens, too.
  TakeNotifications();
}

// By libpq: a listener of libpqxx queries the database in its destructor.
void LiveDataFeed::TakeNotifications() {
  PGconn* const raw = connection_->raw();
  if (PQconsumeInput(raw) == 0) throw pqxx::broken_connection(PQerrorMessage(raw));
  while (PGnotify* notification = PQnotifies(raw)) {
    notified_ = true;
    PQfreemem(notification);
  }
}

void LiveDataFeed::BeginNewWatchers(const Watchers& watchers) {
  Watchers beginners;
  for (const auto& watcher : watchers) {
    if (!watcher->HasBegun()) beginners.push_back(watcher);
  }
  if (beginners.empty() && head_.has_value()) return;
  const Rows rows = QueryAlone(*connection_, kFindLiveDataHead);
  const WatchPosition head = {XidAt(rows, 0, 0), rows.Int64(0, 1)};
  if (!head_.has_value()) head_ = head;
  for (const auto& watcher : beginners) {
    watcher->EndIfFrom(XidAt(rows, 0, 2));
    watcher->Begin(head, Clock::now());
  }
}

void LiveDataFeed::LookUp(const Watchers& watchers) {
  notified_ = false;
  last_look_up_ = Clock::now();
  look_up_time_ = last_look_up_ + kMinPause;
  const WatchChunk chunk = Read(*head_, kEnd);
  for (const auto& watcher : watchers) watcher->Deliver(chunk, Clock::now());
  head_ = chunk.to;
  if (chunk.entries.size() == kChunkEntries) {
    look_up_time_ = last_look_up_ = {};
    more_ = true;
  }
}

void LiveDataFeed::CatchUp(const Watchers& watchers) {
  for (size_t i = 0; i < watchers.size(); ++i) {
    const size_t index = next_behind_++ % watchers.size();
    const std::optional<WatchPosition> from = watchers[index]->Behind(*head_);
    if (!from.has_value()) continue;
    const WatchChunk chunk = Read(*from, *head_);
    for (const auto& watcher : watchers) watcher->Deliver(chunk, Clock::now());
    more_ = true;
    return;
  }
}

WatchChunk LiveDataFeed::Read(const WatchPosition& from, const WatchPosition& to) {
  const Rows rows =
      QueryAlone(*connection_, kReadNewLiveData,
                 {XidParameter(from.xid), from.id, XidParameter(to.xid), to.id, kChunkEntries});
  WatchChunk chunk = {from, to, {}};
  chunk.entries.reserve(rows.size());
  v1::WatchLiveDataResponse response;
  v1::LiveDataEntry* const entry = response.add_live_data_entries();
  for (int row = 0; row < rows.size(); ++row) {
    *entry = EntryFromRow(rows, row);
    const WatchPosition position = {XidAt(rows, row, kEntryColumns), entry->id()};
    chunk.entries.push_back({position, entry->site_id(), response.SerializeAsString()});
  }
  const bool is_full = rows.size() == kChunkEntries;
  if (is_full || to == kEnd) chunk.to = rows.empty() ? from : chunk.entries.back().position;
  return chunk;
}

void LiveDataFeed::MeasureDelay() {
  const Rows rows = QueryAlone(*connection_, kFindHorizon);
  const uint64_t horizon = XidAt(rows, 0, 0), next_xid = XidAt(rows, 0, 1);
  const auto now = Clock::now();
  if (horizon != horizon_ || horizon == next_xid) {
    horizon_ = horizon;
    horizon_time_ = now;
  }
  const double seen_for = std::chrono::duration<double>(now - horizon_time_).count();
  delay_seconds_ = horizon == next_xid ? 0 : std::max(seen_for, rows.Double(0, 2));
}

void LiveDataFeed::Wait(bool has_watchers) {
  const auto now = Clock::now();
  auto until = Clock::time_point::max();
  if (has_watchers) until = last_tick_ + kMaxPause;
  if (now < retry_time_) {
    if (has_watchers || entries_written_) until = std::min(until, retry_time_);
  } else {
    if (more_) return;
    if (entries_written_) until = std::min(until, notify_time_);
    if (has_watchers && connection_ != nullptr) {
      until = std::min(until, notified_ ? look_up_time_ : last_look_up_ + kMaxPause);
    }
  }
  int timeout = -1;
  if (until != Clock::time_point::max()) {
    // Rounded up, so that it does not wake just before.
    const auto left = std::chrono::duration_cast<milliseconds>(until - now) + milliseconds(1);
    timeout = static_cast<int>(std::max(left, milliseconds(0)).count());
  }
  pollfd descriptors[] = {{wake_up_, POLLIN, 0}, {socket_, POLLIN, 0}};
  poll(descriptors, 2, timeout);
  eventfd_t ignored;
  (void)eventfd_read(wake_up_, &ignored);
}

}  // namespace energysites::storage
