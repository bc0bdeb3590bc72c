// Page tokens: the position where the next page begins, valid only for the same list.
#ifndef SERVICES_RPC_PAGE_TOKEN_H_
#define SERVICES_RPC_PAGE_TOKEN_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "google/protobuf/message.h"
#include "storage/postgres/page.h"

namespace energysites {

constexpr int kDefaultPageSize = 50;
using storage::kMaxPageSize;

// Returns a hash of the type and content of `message`, the same in every process.
uint32_t Fingerprint(const google::protobuf::Message& message);

// Identifies a list: returns a hash of the type of a List request and of all its fields except
// page_size and page_token, the same in every process.
uint32_t ListFingerprint(const google::protobuf::Message& request);

// Returns version, fingerprint, last key and checksum in base64url. A token is not a secret,
// because it grants no access.
std::string EncodePageToken(uint32_t fingerprint, const std::vector<int64_t>& last_key);

struct PageToken {
  uint32_t fingerprint = 0;
  std::vector<int64_t> last_key;
};

// Returns the content of `token` without checking its list. Returns INVALID_ARGUMENT if it is
// malformed or if its key does not have `key_size` numbers.
absl::StatusOr<PageToken> ReadPageToken(absl::string_view token, size_t key_size);

// Returns the key of `key_size` numbers in `token`. Returns INVALID_ARGUMENT if it is malformed or
// has another fingerprint.
absl::StatusOr<std::vector<int64_t>> DecodePageToken(absl::string_view token, uint32_t fingerprint,
                                                     size_t key_size);

// Returns the number of rows of a page for the `page_size` in a request.
int EffectivePageSize(int page_size);

// Lists one page: requests one row more than the page size from `list` (storage::Page ->
// StatusOr<vector<Row>>), calls `add` for the rows of the page, and returns the token of the next
// page, empty at the end. `key_of` returns the key of a row, which has `key_size` numbers.
template <class Request, class List, class KeyOf, class Add>
absl::StatusOr<std::string> ListPage(const Request& request, size_t key_size, List list,
                                     KeyOf key_of, Add add) {
  const uint32_t fingerprint = ListFingerprint(request);
  const size_t page_size = EffectivePageSize(request.page_size());
  storage::Page page;
  page.limit = page_size + 1;
  if (!request.page_token().empty()) {
    auto last_key = DecodePageToken(request.page_token(), fingerprint, key_size);
    if (!last_key.ok()) return last_key.status();
    page.last_key = *std::move(last_key);
  }
  auto rows = list(page);
  if (!rows.ok()) return rows.status();
  const bool more = rows->size() > page_size;
  if (more) rows->resize(page_size);
  const std::string next_page_token =
      more ? EncodePageToken(fingerprint, key_of(rows->back())) : "";
  for (auto& row : *rows) add(std::move(row));
  return next_page_token;
}

}  // namespace energysites

#endif  // SERVICES_RPC_PAGE_TOKEN_H_
