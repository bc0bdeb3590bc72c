#include "storage/postgres/connection.h"

#include <poll.h>
#include <sys/socket.h>

#include "absl/strings/numbers.h"
#include "storage/postgres/cancel_request.h"
#include "storage/postgres/sql_errors.h"

namespace energysites::storage {
namespace {

std::string DsnNow(const DsnSource& source) {
  const absl::StatusOr<std::string> dsn = source.Get();
  if (!dsn.ok()) throw pqxx::broken_connection(std::string(dsn.status().message()));
  return *dsn;
}

}  // namespace

Connection::Connection(const DsnSource& dsn, SilenceWatch* watch,
                       std::chrono::milliseconds silence_limit)
    : connection_base(policy_), policy_(DsnNow(dsn)), watch_(watch) {
  if (watch_ != nullptr && !watch_->MayConnect()) {
    throw pqxx::broken_connection(
        "too many connections were ended because the database did not answer on them, and are "
        "there yet");
  }
  init();
  if (watch_ == nullptr) return;
  backend_pid_ = PQbackendPID(raw());
  PQregisterEventProc(raw(), &Connection::OnEvent, "energy-sites", this);
  watch_->Add(this, silence_limit);
}

Connection::~Connection() {
  if (watch_ != nullptr) watch_->Remove(this);
  close();
}

int Connection::OnEvent(PGEventId event, void*, void* connection) {
  if (event == PGEVT_RESULTCREATE) static_cast<Connection*>(connection)->NoteProgress();
  return 1;
}

void Connection::PrepareOnce(const Statement& statement) {
  if (prepared_.count(statement.name) > 0) return;
  CheckResult(
      raw(), PQprepare(raw(), statement.name, statement.sql, /*nParams=*/0, /*paramTypes=*/nullptr),
      statement.sql);
  prepared_.insert(statement.name);
}

bool Connection::IsReady() const {
  // A cancel request that stopped the ROLLBACK has left a transaction open.
  if (PQtransactionStatus(policy_.raw) != PQTRANS_IDLE) return false;
  pollfd descriptor = {PQsocket(policy_.raw), POLLRDHUP, 0};
  return poll(&descriptor, 1, /*timeout=*/0) == 0;
}

void Connection::Abandon() {
  abandoned_ = true;
  shutdown(PQsocket(policy_.raw), SHUT_RDWR);
}

PgResult CheckResult(PGconn* raw, PGresult* result, const std::string& query) {
  PgResult owned(result, PQclear);
  switch (PQresultStatus(result)) {
    case PGRES_COMMAND_OK:
    case PGRES_TUPLES_OK:
    case PGRES_COPY_IN:
    case PGRES_COPY_OUT:
      return owned;
    default:
      break;
  }
  const std::string message = PQerrorMessage(raw);
  if (PQstatus(raw) != CONNECTION_OK) throw pqxx::broken_connection(message);
  const char* state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
  if (state != nullptr && absl::string_view(state) == "23514" &&
      PQresultErrorField(result, PG_DIAG_CONSTRAINT_NAME) == nullptr) {
    throw MissingPartition(message, query, state);
  }
  throw pqxx::sql_error(message, query, state);
}

CopyIn::CopyIn(Connection& connection, const std::string& sql)
    : connection_(connection), raw_(connection.raw()), sql_(sql) {
  CheckResult(raw_, PQexec(raw_, sql_.c_str()), sql_);
}

void CopyIn::Put(absl::string_view data) {
  if (PQputCopyData(raw_, data.data(), static_cast<int>(data.size())) == 1) {
    connection_.NoteProgress();
    return;
  }
  // The server sends its error, if it has one, at the end of the COPY.
  Finish();
  throw pqxx::broken_connection(PQerrorMessage(raw_));
}

int64_t CopyIn::Finish() {
  if (PQputCopyEnd(raw_, nullptr) != 1) throw pqxx::broken_connection(PQerrorMessage(raw_));
  PgResult result(PQgetResult(raw_), PQclear);
  // libpq is ready for the next query only after a null result.
  while (PGresult* rest = PQgetResult(raw_)) PQclear(rest);
  result = CheckResult(raw_, result.release(), sql_);
  int64_t rows = 0;
  if (!absl::SimpleAtoi(PQcmdTuples(result.get()), &rows))
    throw pqxx::failure("COPY gave no count");
  return rows;
}

CopyOut::CopyOut(Connection& connection, const std::string& sql)
    : connection_(connection), raw_(connection.raw()), sql_(sql) {
  CheckResult(raw_, PQexec(raw_, sql_.c_str()), sql_);
}

CopyOut::~CopyOut() {
  FreePiece();
  if (finished_) return;
  const auto request = CancelRequest::Send(raw_);
  if (request == nullptr || !request->Wait()) connection_.Abandon();
  absl::string_view rest;
  try {
    while (Next(&rest)) continue;
  } catch (const std::exception&) {
    // The query was cancelled, as intended, or the connection was lost.
  }
}

bool CopyOut::Next(absl::string_view* data) {
  FreePiece();
  const int size = PQgetCopyData(raw_, &piece_, /*async=*/0);
  if (size > 0) {
    connection_.NoteProgress();
    *data = absl::string_view(piece_, size);
    return true;
  }
  finished_ = true;
  PgResult result(PQgetResult(raw_), PQclear);
  while (PGresult* rest = PQgetResult(raw_)) PQclear(rest);
  CheckResult(raw_, result.release(), sql_);
  return false;
}

void CopyOut::FreePiece() {
  if (piece_ != nullptr) PQfreemem(piece_);
  piece_ = nullptr;
}

}  // namespace energysites::storage
