// Pages of lists.
#ifndef STORAGE_POSTGRES_PAGE_H_
#define STORAGE_POSTGRES_PAGE_H_

#include <cstdint>
#include <vector>

namespace energysites::storage {

// What a list is to return: at most `limit` rows after `last_key` (empty for the first page).
struct Page {
  int64_t limit = 0;
  std::vector<int64_t> last_key;
};

}  // namespace energysites::storage

#endif  // STORAGE_POSTGRES_PAGE_H_
