// A connection that libpqxx and libpq share: libpqxx for transactions and statements, libpq for
// what libpqxx 6 cannot do, which is binary results and binary COPY.
#ifndef STORAGE_CONNECTION_H_
#define STORAGE_CONNECTION_H_

#include <libpq-fe.h>

#include <atomic>
#include <memory>
#include <pqxx/pqxx>
#include <string>

#include "absl/strings/string_view.h"
#include "storage/dsn.h"

namespace energysites::storage {

// For one thread. libpq's calls are made inside a transaction of libpqxx, never between its own
// calls of one query. Everything here throws what libpqxx would throw.
class Connection final : public pqxx::connection_base {
 public:
  // Throws broken_connection, too, if there is no DSN now.
  explicit Connection(const DsnSource& dsn);
  ~Connection();

  PGconn* raw() { return policy_.raw; }

  // Whether a transaction can begin: none is open, and the other side has not ended the connection
  // while it lay idle.
  bool IsReady() const;
  // Ends it under a call that waits for an answer, which then fails. From any thread.
  void Abandon();

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

  Policy policy_;
};

using PgResult = std::unique_ptr<PGresult, void (*)(PGresult*)>;

// Takes the result of a libpq call; throws sql_error with its SQLSTATE, or broken_connection.
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
  PGconn* const raw_;
  const std::string sql_;
};

// Rows from the database by `COPY ... TO STDOUT`.
class CopyOut {
 public:
  CopyOut(Connection& connection, const std::string& sql);
  // Stops the query, if it was not read to its end, so that the connection can be used again.
  ~CopyOut();
  CopyOut(const CopyOut&) = delete;
  CopyOut& operator=(const CopyOut&) = delete;

  // Sets `data` to the next piece, one row or the header or trailer of the binary format; valid
  // until the next call. Returns false at the end.
  bool Next(absl::string_view* data);

 private:
  void FreePiece();

  PGconn* const raw_;
  const std::string sql_;
  char* piece_ = nullptr;
  bool finished_ = false;
};

}  // namespace energysites::storage

#endif  // STORAGE_CONNECTION_H_
