// A connection that libpqxx and libpq share: libpqxx for transactions, libpq for statements and
// COPY in binary format, which libpqxx 6 does not have.
#ifndef STORAGE_POSTGRES_CONNECTION_H_
#define STORAGE_POSTGRES_CONNECTION_H_

#include <libpq-events.h>
#include <libpq-fe.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <pqxx/pqxx>
#include <set>
#include <string>

#include "absl/strings/string_view.h"
#include "storage/postgres/dsn.h"
#include "storage/postgres/silence_watch.h"
#include "storage/postgres/statement.h"

namespace energysites::storage {

// For one thread. libpq's calls are made inside a transaction of libpqxx, never between its own
// calls of one query. Everything here throws what libpqxx would throw.
class Connection final : public pqxx::connection_base {
 public:
  // Throws broken_connection, too, if there is no DSN now, or if `watch` allows no connection now.
  // `watch` may be null, else it outlives the connection, and ends it if the database makes no
  // progress for `silence_limit` while the owner waits for it.
  explicit Connection(const DsnSource& dsn, SilenceWatch* watch = nullptr,
                      std::chrono::milliseconds silence_limit = {});
  ~Connection();

  // States, for its lifetime, whether the owner waits for the database. The owner waits from the
  // start of a transaction to its end, except while it does work of its own.
  class Waiting {
   public:
    Waiting(Connection& connection, bool waits) : connection_(connection) {
      if (IsWaiting(connection_.progress()) != waits) steps_ = 1;
      connection_.Advance(steps_);
    }
    ~Waiting() { connection_.Advance(steps_); }
    Waiting(const Waiting&) = delete;
    Waiting& operator=(const Waiting&) = delete;

   private:
    Connection& connection_;
    int steps_ = 2;
  };

  // Records progress of the database. To be called for the pieces of a COPY; results of libpq are
  // recorded by themselves.
  void NoteProgress() { Advance(2); }

  // Grows with each progress of the database; odd while the owner waits for it. From any thread.
  uint64_t progress() const { return progress_.load(std::memory_order_relaxed); }
  static bool IsWaiting(uint64_t progress) { return progress % 2 == 1; }

  PGconn* raw() { return policy_.raw; }

  // Prepares the statement unless this connection has prepared one of that name. `statement.name`
  // outlives the connection.
  void PrepareOnce(const Statement& statement);

  // Whether a transaction can begin: none is open, and the database has not closed the idle
  // connection.
  bool IsReady() const;
  // Ends the connection; a call that waits for an answer fails. From any thread. The database may
  // still do later what it was asked for.
  void Abandon();
  bool abandoned() const { return abandoned_; }
  // The process id of the backend. Constant.
  int backend_pid() const { return backend_pid_; }

 private:
  struct Policy final : pqxx::connect_direct {
    using pqxx::connect_direct::connect_direct;
    handle do_startconnect(handle orig) override {
      return raw = pqxx::connect_direct::do_startconnect(orig);
    }
    handle do_disconnect(handle orig) noexcept override {
      return raw = pqxx::connect_direct::do_disconnect(orig);
    }
    // libpqxx sets it again at each use, while another thread may want to cancel that.
    std::atomic<PGconn*> raw = nullptr;
  };

  // Only the owner's thread writes it.
  void Advance(int steps) { progress_.store(progress() + steps, std::memory_order_relaxed); }
  // libpq calls it for each result that it receives.
  static int OnEvent(PGEventId event, void* info, void* connection);

  Policy policy_;
  SilenceWatch* const watch_;
  int backend_pid_ = 0;
  std::set<absl::string_view> prepared_;  // By name.
  std::atomic<uint64_t> progress_ = 0;
  std::atomic<bool> abandoned_ = false;
};

using PgResult = std::unique_ptr<PGresult, void (*)(PGresult*)>;

// Takes the result of a libpq call; throws MissingPartition, sql_error with its SQLSTATE, or
// broken_connection.
PgResult CheckResult(PGconn* raw, PGresult* result, const std::string& query);

// Rows to the database by `COPY ... FROM STDIN`.
class CopyIn {
 public:
  CopyIn(Connection& connection, const std::string& sql);
  // Data in pieces that need not end where rows do.
  void Put(absl::string_view data);
  // Returns how many rows were copied. If it is not called, the transaction must end with an
  // exception.
  int64_t Finish();

 private:
  Connection& connection_;
  PGconn* const raw_;
  const std::string sql_;
};

// Rows from the database by `COPY ... TO STDOUT`.
class CopyOut {
 public:
  CopyOut(Connection& connection, const std::string& sql);
  // Cancels the query if it was not read to its end, so that the connection can be used again; ends
  // the connection if the database does not answer the cancel request.
  ~CopyOut();
  CopyOut(const CopyOut&) = delete;
  CopyOut& operator=(const CopyOut&) = delete;

  // Waits for the next piece and sets `data` to it: one row or the header or trailer of the binary
  // format; valid until the next call. Returns false at the end.
  bool Next(absl::string_view* data);

 private:
  void FreePiece();

  Connection& connection_;
  PGconn* const raw_;
  const std::string sql_;
  char* piece_ = nullptr;
  bool finished_ = false;
};

}  // namespace energysites::storage

#endif  // STORAGE_POSTGRES_CONNECTION_H_
