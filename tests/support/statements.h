// All SQL statements of storage.
#ifndef TESTS_SUPPORT_STATEMENTS_H_
#define TESTS_SUPPORT_STATEMENTS_H_

#include "storage/postgres/statement.h"

namespace energysites::testing_support {

// The statements of all repositories, of maintenance and of the feed.
storage::Statements AllStatements();

}  // namespace energysites::testing_support

#endif  // TESTS_SUPPORT_STATEMENTS_H_
