#include "services/live_data/live_data_service.h"

#include <map>
#include <memory>
#include <optional>
#include <string>

#include "absl/strings/str_cat.h"
#include "google/protobuf/wrappers.pb.h"
#include "services/live_data/aggregate_buckets.h"
#include "services/live_data/entry_failures.h"
#include "services/live_data/export_stream.h"
#include "services/live_data/ingest_stream.h"
#include "services/live_data/watch_stream.h"
#include "services/rpc/page_token.h"
#include "services/rpc/request_hash.h"
#include "storage/inserts/live_data_writer.h"
#include "storage/live_data/live_data_repository.h"
#include "storage/live_data/live_data_summaries.h"

namespace energysites {
namespace {

using google::protobuf::Empty;
using storage::LiveDataRepository;
using storage::LiveDataSummaryRepository;
using storage::LiveDataWriter;
using storage::Page;
using storage::Session;
using storage::SharedInsertState;

// One batch runs while the other one waits for its commit. With more of them, batches would be
// smaller, and there would be more commits.
constexpr storage::BatcherOptions kManyCreates = {/*max_batch_size=*/512,
                                                  /*max_concurrent_batches=*/2,
                                                  /*queue_limit=*/4000};

LiveDataWriter::CreateCall CreateCallOf(const v1::CreateLiveDataEntryRequest& request) {
  return {&request, WriteRequestOf(request, request.live_data_entry().site_id())};
}

// Whether valid entries of the batch are stored although other entries are invalid.
bool IsPartialBatch(const v1::BatchCreateLiveDataEntriesRequest& request) {
  return request.return_partial_success();
}

// The hash covers which entries are of sites that the caller may not access: the stored answer must
// not be returned to another caller, for whom this differs.
std::optional<storage::WriteRequest> BatchWriteRequestOf(
    const v1::BatchCreateLiveDataEntriesRequest& request, const EntryFaults& faults) {
  auto write = WriteRequestOf(request, storage::kNoSite);
  if (!write.has_value() || faults.sites.count() == 0) return write;
  google::protobuf::BytesValue content;
  content.set_value(write->hash);
  for (const Violation& violation : faults.sites.listed()) {
    absl::StrAppend(content.mutable_value(), violation.field, "\n");
  }
  for (const int entry : faults.sites.unlisted_entries()) {
    absl::StrAppend(content.mutable_value(), entry, "\n");
  }
  write->hash = RequestHash(content);
  return write;
}

// The sort key of entries in the database.
std::vector<int64_t> KeyOf(const v1::LiveDataEntry& entry) {
  const auto& stamp = entry.dt_stamp();
  return {stamp.seconds() * 1000000 + stamp.nanos() / 1000, entry.id()};
}

}  // namespace

LiveDataService::LiveDataService(ServiceContext& context) : RawService(context) {
  const auto insert_state = std::make_shared<SharedInsertState>();
  // Notifies watchers after the commit, also if nothing was stored, which costs nothing.
  const auto written = [&feed = context.live_data_feed](auto result) {
    feed.EntriesWritten();
    return result;
  };
  ServeBatched<v1::CreateLiveDataEntryRequest, v1::LiveDataEntry>(
      "CreateLiveDataEntry", "live_data_entry.site_id", kManyCreates,
      [](const v1::CreateLiveDataEntryRequest& request) {
        return request.live_data_entry().site_id();
      },
      [insert_state, written](Session& session,
                              const std::vector<const v1::CreateLiveDataEntryRequest*>& requests) {
        std::vector<LiveDataWriter::CreateCall> calls;
        for (const auto* request : requests) calls.push_back(CreateCallOf(*request));
        return written(LiveDataWriter(session, *insert_state).CreateMany(calls));
      },
      [insert_state, written](Session& session, const v1::CreateLiveDataEntryRequest& request) {
        return written(LiveDataWriter(session, *insert_state).Create(CreateCallOf(request)));
      });
  ServeWithTolerance<v1::BatchCreateLiveDataEntriesRequest, v1::BatchCreateLiveDataEntriesResponse>(
      "BatchCreateLiveDataEntries", "entries.site_id", IsPartialBatch,
      [insert_state, written](Session& session,
                              const v1::BatchCreateLiveDataEntriesRequest& request,
                              const EntryFaults& tolerated) {
        return written(LiveDataWriter(session, *insert_state)
                           .BatchCreate(request, EntryFailures(tolerated),
                                        BatchWriteRequestOf(request, tolerated)));
      });
  ServeBatched<v1::GetLiveDataEntryRequest, v1::LiveDataEntry>(
      "GetLiveDataEntry", "site_id", kManyReads,
      [](const v1::GetLiveDataEntryRequest& request) { return request.site_id(); },
      [](Session& session, const std::vector<const v1::GetLiveDataEntryRequest*>& requests) {
        std::vector<storage::LiveDataKey> keys;
        for (const auto* request : requests) keys.push_back({request->site_id(), request->id()});
        return LiveDataRepository(session).GetMany(keys);
      });
  Serve<v1::ListLiveDataEntriesRequest, v1::ListLiveDataEntriesResponse>(
      "ListLiveDataEntries", "site_id",
      [](Session& session, const v1::ListLiveDataEntriesRequest& request)
          -> absl::StatusOr<v1::ListLiveDataEntriesResponse> {
        v1::ListLiveDataEntriesResponse response;
        auto next_page_token = ListPage(
            request, 2,
            [&](const Page& page) { return LiveDataRepository(session).List(request, page); },
            KeyOf,
            [&](v1::LiveDataEntry entry) { *response.add_live_data_entries() = std::move(entry); });
        if (!next_page_token.ok()) return next_page_token.status();
        response.set_next_page_token(*std::move(next_page_token));
        return response;
      });
  Serve<v1::DeleteLiveDataEntryRequest, Empty>(
      "DeleteLiveDataEntry", "site_id",
      [](Session& session, const v1::DeleteLiveDataEntryRequest& request) {
        return LiveDataRepository(session).Delete(request);
      });
  ServeStream<v1::ExportLiveDataRequest>("ExportLiveData", "site_ids", ExportEntries);
  ServeStream<v1::DownloadLiveDataRequest>("DownloadLiveData", "site_ids", DownloadEntries);
  ServeAnswers<WatchMethod, v1::WatchLiveDataRequest>("WatchLiveData", "site_ids");
  ServeBidi<IngestMethod, v1::IngestLiveDataRequest>("IngestLiveData", "batch.entries.site_id",
                                                     insert_state);
  Serve<v1::GetLatestLiveDataRequest, v1::GetLatestLiveDataResponse>(
      "GetLatestLiveData", "site_ids",
      [](Session& session, const v1::GetLatestLiveDataRequest& request) {
        return LiveDataSummaryRepository(session).Latest(request);
      });
  Serve<v1::AggregateLiveDataRequest, v1::AggregateLiveDataResponse>(
      "AggregateLiveData", "site_ids",
      [](Session& session, const v1::AggregateLiveDataRequest& request)
          -> absl::StatusOr<v1::AggregateLiveDataResponse> {
        const auto boundaries = AggregateBuckets(request);
        if (!boundaries.ok()) return boundaries.status();
        return LiveDataSummaryRepository(session).Aggregate(request, *boundaries);
      });
}

}  // namespace energysites
