// Sends batches of live data through the service's ingest stream, each once whatever breaks.
#pragma once

#include <functional>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "clients/cli/connection.h"
#include "energysites/v1/live_data.pb.h"

namespace energysites {

// Both are called by the thread that called Ingest.
struct IngestCallbacks {
  // The next batch, its sequence not set yet; nothing at the end. First called when no earlier
  // stream of the session can store anything any more.
  std::function<std::optional<v1::IngestBatch>()> next;
  // A batch of `next` is on disk, but for `refused`. In the order of the batches.
  std::function<void(const v1::RefusedEntries& refused)> stored;
};

// Goes on with the session `name` or makes it, until all batches are stored. A stream that breaks
// is opened again, as Connection::Call makes calls again. Returns what a stream failed with that
// is not worth another try; batches up to the last `stored` are on disk then, and later ones may
// be.
absl::Status Ingest(const Connection& connection, const std::string& name,
                    const IngestCallbacks& callbacks);

}  // namespace energysites
