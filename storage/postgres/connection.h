// A connection that libpqxx and libpq share: libpqxx for transactions and statements, libpq for
// what libpqxx 6 cannot do, which is binary results and binary COPY.
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
  // `watch` may be null, else it outlives the connection, and ends it after `silence_limit` without
  // a sign of the database while the owner waits for it.
  explicit Connection(const DsnSource& dsn, SilenceWatch* watch = nullptr,
                      std::chrono::milliseconds silence_limit = {});
  ~Connection();

  // Says, for as long as it lives, whether the owner waits for the database. It waits from the
  // start of a transaction to its end, but for what the owner does itself meanwhile.
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

  // The database has given a sign. libpq's results say so by themselves, the pieces of COPY do not.
  void NoteProgress() { Advance(2); }

  // Grows with each sign of the database; odd while the owner waits for one. From any thread.
  uint64_t progress() const { return progress_.load(std::memory_order_relaxed); }
  static bool IsWaiting(uint64_t progress) { return progress % 2 == 1; }

  PGconn* raw() { return policy_.raw; }

  // Prepares the statement unless this connection has prepared one of that name. `statement.name`
  // outlives the connection.
  void PrepareOnce(const Statement& statement);

  // Whether a transaction can begin: none is open, and the other side has not ended the connection
  // while it lay idle.
  bool IsReady() const;
  // Ends it under a call that waits for an answer, which then fails. From any thread. What the
  // database was asked to do it may still do later.
  void Abandon();
  bool abandoned() const { return abandoned_; }
  // The process in the database that serves it. Constant.
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
  // libpq calls it for each result that has come.
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
  // Returns how many rows were copied. Without it the transaction has to end by an exception.
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
  // Stops the query, if it was not read to its end, so that the connection can be used again; ends
  // the connection if the database does not take the request to stop.
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
