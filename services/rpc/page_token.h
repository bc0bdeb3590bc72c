// Page tokens: where a list goes on, bound to the list that they came from.
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

// A hash over the type and content of `message`, the same in every process.
uint32_t Fingerprint(const google::protobuf::Message& message);

// What tells two lists apart: a hash over the type of a List request and all its fields but
// page_size and page_token. The same in every process.
uint32_t ListFingerprint(const google::protobuf::Message& request);

// Version, fingerprint, last key and checksum in base64url. No secret: a token grants nothing.
std::string EncodePageToken(uint32_t fingerprint, const std::vector<int64_t>& last_key);

struct PageToken {
  uint32_t fingerprint = 0;
  std::vector<int64_t> last_key;
};

// What is in `token`, whichever list it belongs to. INVALID_ARGUMENT if it is malformed or its key
// has not `key_size` numbers.
absl::StatusOr<PageToken> ReadPageToken(absl::string_view token, size_t key_size);

// The key of `key_size` numbers in `token`. INVALID_ARGUMENT if it is malformed or belongs to a
// list with another fingerprint.
absl::StatusOr<std::vector<int64_t>> DecodePageToken(absl::string_view token, uint32_t fingerprint,
                                                     size_t key_size);

// How many rows a caller who asks for `page_size` gets.
int EffectivePageSize(int page_size);

// Lists one page: asks `list` (storage::Page -> StatusOr<vector<Row>>) for a row more than fits,
// gives the rows that fit to `add`, and returns the token of the next page, empty at the end.
// `key_of` gives a row's key of `key_size` numbers.
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
