// One connection to the database and the transactions on it.
#ifndef STORAGE_POSTGRES_SESSION_H_
#define STORAGE_POSTGRES_SESSION_H_

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <pqxx/pqxx>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "storage/errors/errors.h"
#include "storage/postgres/cancel_request.h"
#include "storage/postgres/connection.h"
#include "storage/postgres/dsn.h"
#include "storage/postgres/silence_watch.h"
#include "storage/postgres/sql_errors.h"

namespace energysites::storage {

struct SessionOptions {
  DsnSource dsn;
  // Zero for no limit, of these three.
  absl::Duration statement_timeout = absl::Seconds(30);
  absl::Duration lock_timeout = absl::Seconds(5);
  absl::Duration idle_in_transaction_timeout = absl::Seconds(30);
  // Whether statements may read tables from end to end, as exports do. All others find their rows
  // by an index, also in a table that was empty when their plans were made.
  bool scans_tables = false;
  // Whether the connection holds session locks. After it is lost, all calls fail as UNAVAILABLE
  // until Begin, because a new connection would not hold the locks.
  bool holds_locks = false;
  // Ends connections on which the database makes no progress for `silence_limit` while the session
  // waits for it. Null for no bound; else it outlives the session.
  SilenceWatch* silence_watch = nullptr;
  absl::Duration silence_limit = kMaxSilence;
  // Called each time a connection was lost, on the session's thread.
  std::function<void()> on_connection_lost = nullptr;
};

// Connects on first use, with the timeouts set, and again after the connection was lost. For one
// thread, except Cancel and Abandon.
class Session {
 public:
  explicit Session(SessionOptions options) : options_(std::move(options)) {}
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  // Runs `body` (pqxx::work& -> StatusOr<T>) in one READ COMMITTED transaction, and commits if it
  // returns a value. OK means committed. A value that is not OK, or an exception, rolls back. A
  // deadlock, a serialization failure or a lost race for a key is tried once more.
  //
  // Returns UNAVAILABLE if the database is unavailable (the commit may then have happened or not),
  // DEADLINE_EXCEEDED if the connection was abandoned (likewise), CANCELLED after Cancel, else what
  // StatusFromException says.
  template <class Body>
  auto Transact(Body body) -> decltype(body(std::declval<pqxx::work&>())) {
    auto result = Once<pqxx::work>(body);
    return IsRetryable(result.status()) ? Once<pqxx::work>(body) : std::move(result);
  }

  // The same for a single statement, which is a transaction by itself: one round trip instead of
  // three. `body` takes a pqxx::nontransaction&.
  template <class Body>
  auto Autocommit(Body body) -> decltype(body(std::declval<pqxx::nontransaction&>())) {
    auto result = Once<pqxx::nontransaction>(body);
    return IsRetryable(result.status()) ? Once<pqxx::nontransaction>(body) : std::move(result);
  }

  // Runs `body` (pqxx::read_transaction& -> StatusOr<T>) once: for reads that pass rows on before
  // the transaction ends.
  template <class Body>
  auto ReadOnce(Body body) -> decltype(body(std::declval<pqxx::read_transaction&>())) {
    return Once<pqxx::read_transaction>(body);
  }

  // Whether there is a connection, which may be lost before it is used. TryConnect connects if
  // there is none and returns the same; a transaction connects by itself, and returns what is
  // wrong.
  bool connected() const { return connection_ != nullptr; }
  bool TryConnect();

  // For COPY, inside a transaction only.
  Connection& connection() { return *connection_; }

  // Asks the database to cancel the running query, and refuses further transactions until Begin.
  // From any thread; does not block. A request that arrives between two queries of the owner has no
  // effect: call it again until the owner is done.
  void Cancel();
  // Allows transactions again, after Cancel and after the loss of a connection that held locks.
  // Waits until the cancel request can stop no later query; drops the connection if the database
  // does not answer the request. A concurrent Cancel has no effect.
  void Begin();

  // Ends the connection; a transaction that waits for an answer fails as DEADLINE_EXCEEDED. For a
  // database that hangs, and so does not answer cancel requests either. From any thread.
  void Abandon();

  // Whether Cancel was called since the last Begin: for work that takes several transactions.
  bool cancelled() const { return cancelled_; }

 private:
  // Connects if not connected, and again if the idle connection was lost, as after a restart of the
  // database; throws what pqxx throws.
  Connection& Connect();
  void SetUp(Connection& connection);
  void Replace(std::unique_ptr<Connection> connection);
  // Drops a connection that was lost.
  void Lose();
  // The status of the current exception; drops a connection that cannot be used any more.
  absl::Status Fail();

  template <class Transaction, class Body>
  auto Once(Body& body) -> decltype(body(std::declval<Transaction&>())) {
    if (cancelled_) return absl::CancelledError("call cancelled by the client");
    try {
      Connection& connection = Connect();
      const Connection::Waiting waiting(connection, true);
      Transaction transaction(connection);
      auto result = body(transaction);
      if (result.ok()) transaction.commit();
      return result;
    } catch (...) {
      return Fail();
    }
  }

  const SessionOptions options_;
  std::atomic<bool> cancelled_ = false;
  bool locks_lost_ = false;
  // Guards the pointer, not the connection: Cancel may come from another thread while this one
  // uses the connection, but not while it makes or drops it.
  std::mutex mutex_;
  std::unique_ptr<Connection> connection_;
  std::shared_ptr<CancelRequest> cancel_request_;  // The last one since Begin. Guarded by mutex_.
};

}  // namespace energysites::storage

#endif  // STORAGE_POSTGRES_SESSION_H_
