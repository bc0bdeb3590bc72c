// The columns of configurations, and how configurations are written to them and read from them.
#ifndef STORAGE_CONFIGURATIONS_CONFIGURATION_COLUMNS_H_
#define STORAGE_CONFIGURATIONS_CONFIGURATION_COLUMNS_H_

#include <string>

#include "energysites/v1/configurations.pb.h"
#include "storage/postgres/query.h"

namespace energysites::storage {

// The SELECT list of the statements whose rows ConfigurationFromRow reads.
std::string ConfigurationColumns();
v1::Configuration ConfigurationFromRow(const Rows& rows, int row);

// The number of these columns.
int ConfigurationColumnCount();

// The columns that callers set, for an INSERT.
std::string SettableColumns();
// Their values as parameters, null where `configuration` has no value, in the same order.
void AppendSettableFields(const v1::Configuration& configuration, Parameters& parameters);
// The placeholders of these parameters, of which the first is `$first`.
std::string SettablePlaceholders(int first);
// The SET list of an UPDATE with these parameters. Leaves the columns as they are whose names the
// text array `$mask` does not have.
std::string SettableAssignments(int mask, int first);

}  // namespace energysites::storage

#endif  // STORAGE_CONFIGURATIONS_CONFIGURATION_COLUMNS_H_
