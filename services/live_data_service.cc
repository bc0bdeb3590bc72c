#include "services/live_data_service.h"

#include <map>
#include <memory>
#include <optional>
#include <string>

#include "absl/strings/numbers.h"
#include "absl/strings/strip.h"
#include "services/page_token.h"
#include "services/request_hash.h"
#include "storage/live_data_repository.h"

namespace energysites {
namespace {

using google::protobuf::Empty;
using storage::LiveDataAllocator;
using storage::LiveDataRepository;
using storage::Page;
using storage::Session;

// The 499 of `entries[499].soc`; nothing for a path that is not below an entry.
std::optional<int> EntryIndex(absl::string_view field) {
  int index;
  if (!absl::ConsumePrefix(&field, "entries[")) return std::nullopt;
  const size_t end = field.find(']');
  if (end == field.npos || !absl::SimpleAtoi(field.substr(0, end), &index)) return std::nullopt;
  return index;
}

// A partial batch goes on without its bad entries; a fault of the batch itself stops it.
bool IsBadEntryOfPartialBatch(const v1::BatchCreateLiveDataEntriesRequest& request,
                              const Violation& violation) {
  return request.return_partial_success() && EntryIndex(violation.field).has_value();
}

LiveDataRepository::Failures FailuresFrom(const std::vector<Violation>& violations) {
  std::map<int, std::vector<Violation>> by_entry;
  for (const Violation& violation : violations) {
    by_entry[*EntryIndex(violation.field)].push_back(violation);
  }
  LiveDataRepository::Failures failures;
  for (const auto& [index, of_entry] : by_entry) failures[index] = InvalidRequest(of_entry);
  return failures;
}

// The key by which the database orders entries.
std::vector<int64_t> KeyOf(const v1::LiveDataEntry& entry) {
  const auto& stamp = entry.dt_stamp();
  return {stamp.seconds() * 1000000 + stamp.nanos() / 1000, entry.id()};
}

}  // namespace

LiveDataService::LiveDataService(ServiceContext& context) : RawService(context) {
  const auto allocator = std::make_shared<LiveDataAllocator>();
  Serve<v1::CreateLiveDataEntryRequest, v1::LiveDataEntry>(
      "CreateLiveDataEntry",
      [allocator](Session& session, const v1::CreateLiveDataEntryRequest& request) {
        return LiveDataRepository(session, *allocator)
            .Create(request, WriteRequestOf(request, request.live_data_entry().site_id()));
      });
  ServeTolerantly<v1::BatchCreateLiveDataEntriesRequest, v1::BatchCreateLiveDataEntriesResponse>(
      "BatchCreateLiveDataEntries", IsBadEntryOfPartialBatch,
      [allocator](Session& session, const v1::BatchCreateLiveDataEntriesRequest& request,
                  const std::vector<Violation>& tolerated) {
        return LiveDataRepository(session, *allocator)
            .BatchCreate(request, FailuresFrom(tolerated),
                         WriteRequestOf(request, storage::kNoSite));
      });
  Serve<v1::GetLiveDataEntryRequest, v1::LiveDataEntry>(
      "GetLiveDataEntry",
      [allocator](Session& session, const v1::GetLiveDataEntryRequest& request) {
        return LiveDataRepository(session, *allocator).Get(request.site_id(), request.id());
      });
  Serve<v1::ListLiveDataEntriesRequest, v1::ListLiveDataEntriesResponse>(
      "ListLiveDataEntries",
      [allocator](Session& session, const v1::ListLiveDataEntriesRequest& request)
          -> absl::StatusOr<v1::ListLiveDataEntriesResponse> {
        v1::ListLiveDataEntriesResponse response;
        auto next_page_token = ListPage(
            request, 2,
            [&](const Page& page) {
              return LiveDataRepository(session, *allocator).List(request, page);
            },
            KeyOf,
            [&](v1::LiveDataEntry entry) { *response.add_live_data_entries() = std::move(entry); });
        if (!next_page_token.ok()) return next_page_token.status();
        response.set_next_page_token(*std::move(next_page_token));
        return response;
      });
  Serve<v1::DeleteLiveDataEntryRequest, Empty>(
      "DeleteLiveDataEntry",
      [allocator](Session& session, const v1::DeleteLiveDataEntryRequest& request) {
        return LiveDataRepository(session, *allocator).Delete(request);
      });
}

}  // namespace energysites
