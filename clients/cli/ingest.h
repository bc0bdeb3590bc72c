// Stores batches of live data exactly once through IngestLiveData.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "clients/cli/connection.h"
#include "energysites/v1/live_data.pb.h"

namespace energysites {

// Both run on the thread that called Ingest.
struct IngestCallbacks {
  // Returns the next batch without its sequence number; nothing at the end. First called when no
  // earlier stream of the session can store entries any more.
  std::function<std::optional<v1::IngestBatch>()> next;
  // Called for each batch, in order, when it is on disk. The entries in `refused` are not stored.
  std::function<void(const v1::RefusedEntries& refused)> stored;
};

// Opens or continues the session `name` and stores all batches. A failed stream is opened again
// under the conditions of Connection::Call. Returns the first status that is not retried: batches
// up to the last call of `stored` are on disk then, and later batches may be.
absl::Status Ingest(const Connection& connection, const std::string& name,
                    const IngestCallbacks& callbacks);

}  // namespace energysites
