// The one path by which live data entries get into the database: of single creates, of batches and
// of streams.
#ifndef STORAGE_INSERTS_ENTRY_INSERTER_H_
#define STORAGE_INSERTS_ENTRY_INSERTER_H_

#include <map>
#include <pqxx/pqxx>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "energysites/v1/live_data.pb.h"
#include "google/protobuf/repeated_field.h"
#include "storage/inserts/shared_insert_state.h"
#include "storage/postgres/query.h"
#include "storage/postgres/session.h"
#include "storage/postgres/statement.h"

namespace energysites::storage {

using Entries = std::vector<const v1::LiveDataEntry*>;

// Why entries of a request are not stored, by index.
using EntryErrors = std::map<int, absl::Status>;

// The entries of a request that have no error yet, and their indexes in the request.
struct ValidEntries {
  ValidEntries(const google::protobuf::RepeatedPtrField<v1::LiveDataEntry>& sent,
               const EntryErrors& invalid);

  Entries entries;
  std::vector<int> indexes;
};

struct StoredEntry {
  int64_t id = 0;
  Moment create_time;
};

struct InsertOptions {
  // Entries of these months are not stored: EntryNoLongerKept.
  Months expired_months;
  // Inserts in a single statement, which does not wait for sites that are locked: their entries,
  // and those of sites that are unknown or being deleted, are not stored: Unfinished.
  bool skip_locked_sites = false;
  // Selects the errors of the database that are about a single entry: that entry is not stored, and
  // has the error. Finds it by halving the entries in savepoints. Without this function, every
  // error of the database is thrown.
  bool (*is_entry_error)(const absl::Status&) = nullptr;
};

// Whether an insert failed because a month has expired, or lost its partition, since it was made.
bool HaveMonthsChanged(const absl::Status& status);

class EntryInserter {
 public:
  // Both outlive the inserter.
  EntryInserter(Session& session, SharedInsertState& state) : session_(session), state_(state) {}
  static Statements AllStatements();

  using Verdict = absl::StatusOr<StoredEntry>;

  // Inserts valid entries in `tx`, which is open in the session, and invalidates the rollups of
  // their buckets. Returns one verdict for each entry, in order. Ids ascend in that order within a
  // month.
  //
  // Locks the sites until the transaction ends, so that a deletion either finds the entries or is
  // found here: SiteNotFound if a site is unknown or being deleted, which comes before
  // EntryNoLongerKept. Throws what libpqxx would throw.
  std::vector<Verdict> InsertEntries(pqxx::transaction_base& tx, const Entries& entries,
                                     const InsertOptions& options);

  // Runs `write` (const Months& expired_months -> StatusOr<T>) after it made the other months of
  // `entries`; and once more, on a new connection, if they have changed before its insert. May also
  // return what SharedInsertState::MakeMonths does.
  template <class Write>
  auto WithMonths(const Entries& entries, Write write) -> decltype(write(Months())) {
    const Months months = MonthsOf(entries);
    for (bool is_retry = false;; is_retry = true) {
      const absl::StatusOr<Months> expired = state_.MakeMonths(session_, months);
      if (!expired.ok()) return expired.status();
      auto result = write(*expired);
      if (is_retry || !HaveMonthsChanged(result.status())) return result;
      state_.ForgetMonths();
    }
  }

 private:
  static Months MonthsOf(const Entries& entries);

  Session& session_;
  SharedInsertState& state_;
};

}  // namespace energysites::storage

#endif  // STORAGE_INSERTS_ENTRY_INSERTER_H_
