// The objects that the services of a process share.
#ifndef SERVICES_RPC_SERVICE_CONTEXT_H_
#define SERVICES_RPC_SERVICE_CONTEXT_H_

#include "absl/time/time.h"
#include "prometheus/registry.h"
#include "services/admission/caller.h"
#include "services/admission/subject_quota.h"
#include "services/rpc/draining.h"
#include "storage/postgres/executor.h"
#include "storage/watch/live_data_feed.h"

namespace energysites {

// Outlives the services.
struct ServiceContext {
  storage::Executor& executor;  // For unary calls.
  // For streams, which may use a connection for hours; without a statement timeout.
  storage::Executor& export_executor;
  SubjectQuota& export_streams;  // One per connection of `export_executor`: streams are not queued.
  storage::Executor& ingest_executor;
  SubjectQuota& untaken_answers;  // In bytes, of unary calls.
  storage::LiveDataFeed& live_data_feed;
  Draining& draining;
  prometheus::Registry& metrics;
  // How long the client of an export may read nothing.
  absl::Duration export_stall_timeout;
  IdentitySource identity_source;
};

}  // namespace energysites

#endif  // SERVICES_RPC_SERVICE_CONTEXT_H_
