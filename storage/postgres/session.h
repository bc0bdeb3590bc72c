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
  // Whether the connection holds locks of its own. Once it is lost, all calls then fail as
  // UNAVAILABLE until Begin, rather than go on, unnoticed, on one without them.
  bool holds_locks = false;
  // Ends connections on which the database gives no sign for `silence_limit` while it is waited
  // for. Null for no bound; else it outlives the session.
  SilenceWatch* silence_watch = nullptr;
  absl::Duration silence_limit = kMaxSilence;
  // Told each time that a connection broke; from the session's thread.
  std::function<void()> on_connection_lost = nullptr;
};

// Connects on first use, with the timeouts set, and again after the
// connection was lost. For one thread, but for Cancel.
class Session {
 public:
  explicit Session(SessionOptions options) : options_(std::move(options)) {}
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  // Runs `body` (pqxx::work& -> StatusOr<T>) in one READ COMMITTED transaction, and commits if it
  // returns a value. OK means committed. A value that is not OK, or an exception, rolls back. A
  // deadlock, a serialization failure or a lost race for a key is tried once more.
  //
  // Returns UNAVAILABLE if the database is away (the commit may then have happened or not),
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

  // Runs `body` (pqxx::read_transaction& -> StatusOr<T>) once: for what hands rows on as they come.
  template <class Body>
  auto ReadOnce(Body body) -> decltype(body(std::declval<pqxx::read_transaction&>())) {
    return Once<pqxx::read_transaction>(body);
  }

  // Whether there is a connection, which may be lost by the time that it is used. TryConnect makes
  // one if there is none; a transaction does so by itself, and says what is wrong.
  bool connected() const { return connection_ != nullptr; }
  bool TryConnect();

  // For what libpqxx cannot do, inside a transaction only.
  Connection& connection() { return *connection_; }

  // Asks the database to stop what runs now, and refuses further transactions until Begin. From any
  // thread; does not block. A request that meets no query, because the owner is between two, is in
  // vain: call it again until the owner is done.
  void Cancel();
  // Allows transactions again, after Cancel, which has no effect if it is called beside it, and
  // after the loss of a connection that held locks. Waits until the request can stop no
  // later query; gives the connection up if the database does not take the request.
  void Begin();

  // Ends the connection under what waits for its answer: that fails as DEADLINE_EXCEEDED. For a
  // database that stands still, which takes no cancellation either. From any thread.
  void Abandon();

  // Whether call cancelled by the client: for work that takes several transactions.
  bool cancelled() const { return cancelled_; }

 private:
  // Connects if not connected, and again if the connection was lost while it lay idle, as after a
  // restart of the database; throws what pqxx throws.
  Connection& Connect();
  void SetUp(Connection& connection);
  void Replace(std::unique_ptr<Connection> connection);
  // Drops a connection that broke.
  void Lose();
  // The status of the exception in flight; drops a connection that is no good any more.
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
