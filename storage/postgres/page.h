// Pages of lists.
#ifndef STORAGE_POSTGRES_PAGE_H_
#define STORAGE_POSTGRES_PAGE_H_

#include <cstdint>
#include <vector>

namespace energysites::storage {

// How many rows a caller gets in a page at most. A list is asked for one more, which tells whether
// there is a next page.
constexpr int kMaxPageSize = 1000;

// What a list is to return: at most `limit` rows after `last_key` (empty for the first page).
struct Page {
  int64_t limit = 0;
  std::vector<int64_t> last_key;
};

}  // namespace energysites::storage

#endif  // STORAGE_POSTGRES_PAGE_H_
