#include "tests/support/statements.h"

#include "storage/configurations/configuration_repository.h"
#include "storage/idempotency/write_requests.h"
#include "storage/inserts/ingest_repository.h"
#include "storage/inserts/live_data_writer.h"
#include "storage/live_data/live_data_export.h"
#include "storage/live_data/live_data_repository.h"
#include "storage/live_data/live_data_rollups.h"
#include "storage/live_data/live_data_summaries.h"
#include "storage/maintenance/live_data_months.h"
#include "storage/maintenance/maintenance.h"
#include "storage/sites/site_repository.h"
#include "storage/watch/live_data_feed.h"

namespace energysites::testing_support {

storage::Statements AllStatements() {
  storage::Statements all;
  for (const storage::Statements& some :
       {storage::SiteRepository::AllStatements(), storage::ConfigurationRepository::AllStatements(),
        storage::LiveDataFeed::AllStatements(), storage::LiveDataRepository::AllStatements(),
        storage::LiveDataWriter::AllStatements(), storage::LiveDataRollupStatements(),
        storage::LiveDataExportStatements(), storage::IngestRepository::AllStatements(),
        storage::LiveDataSummaryRepository::AllStatements(), storage::WriteRequestStatements(),
        storage::LiveDataMonthStatements(), storage::MaintenanceStatements()}) {
    all.insert(all.end(), some.begin(), some.end());
  }
  return all;
}

}  // namespace energysites::testing_support
