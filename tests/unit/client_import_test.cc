// Import and export against a fake service whose data the tests can change, to simulate events that
// take days with a real service.
#include <gmock/gmock.h>
#include <google/rpc/error_details.pb.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <sstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "clients/cli/export.h"
#include "clients/cli/import.h"

namespace energysites {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

// The shared data of the services. Entries are in the order of their ids.
struct Store {
  std::mutex mutex;
  int64_t next_id = 1;
  std::map<int64_t, v1::Site> sites;
  std::map<int64_t, v1::Configuration> configurations;
  std::map<int64_t, v1::LiveDataEntry> entries;
  std::map<std::string, std::string> answers;  // by request id
  std::map<std::string, int64_t> sessions;     // last committed sequence
  int batches_until_cut = -1;                  // afterwards batches are stored without a response
  bool export_breaks = false;                  // after its last entry
  int refusals = 0;                            // number of calls to fail with RetryInfo
};

grpc::Status NotFound() { return {grpc::StatusCode::NOT_FOUND, "not found"}; }

// Runs `make` unless `request_id` has a stored response; stores the response.
template <typename Response, typename Make>
grpc::Status Once(Store& store, const std::string& request_id, Response* response, Make make) {
  const auto found = store.answers.find(request_id);
  if (found != store.answers.end()) {
    response->ParseFromString(found->second);
    return grpc::Status::OK;
  }
  make();
  store.answers[request_id] = response->SerializeAsString();
  return grpc::Status::OK;
}

class FakeSites : public v1::Sites::Service {
 public:
  explicit FakeSites(Store& store) : store_(store) {}

  grpc::Status CreateSite(grpc::ServerContext*, const v1::CreateSiteRequest* request,
                          v1::Site* site) override {
    const std::lock_guard lock(store_.mutex);
    return Once(store_, request->request_id(), site, [&] {
      *site = request->site();
      site->set_id(store_.next_id++);
      store_.sites[site->id()] = *site;
    });
  }
  grpc::Status GetSite(grpc::ServerContext*, const v1::GetSiteRequest* request,
                       v1::Site* site) override {
    const std::lock_guard lock(store_.mutex);
    const auto found = store_.sites.find(request->id());
    if (found == store_.sites.end()) return NotFound();
    *site = found->second;
    return grpc::Status::OK;
  }
  grpc::Status ListSites(grpc::ServerContext*, const v1::ListSitesRequest*,
                         v1::ListSitesResponse* page) override {
    const std::lock_guard lock(store_.mutex);
    for (const auto& [id, site] : store_.sites) *page->add_sites() = site;
    return grpc::Status::OK;
  }

 private:
  Store& store_;
};

class FakeConfigurations : public v1::Configurations::Service {
 public:
  explicit FakeConfigurations(Store& store) : store_(store) {}

  grpc::Status CreateConfiguration(grpc::ServerContext*,
                                   const v1::CreateConfigurationRequest* request,
                                   v1::Configuration* configuration) override {
    const std::lock_guard lock(store_.mutex);
    return Once(store_, request->request_id(), configuration, [&] {
      *configuration = request->configuration();
      configuration->set_id(store_.next_id++);
      store_.configurations[configuration->id()] = *configuration;
    });
  }
  grpc::Status GetConfiguration(grpc::ServerContext*, const v1::GetConfigurationRequest* request,
                                v1::Configuration* configuration) override {
    const std::lock_guard lock(store_.mutex);
    const auto found = store_.configurations.find(request->id());
    if (found == store_.configurations.end()) return NotFound();
    *configuration = found->second;
    return grpc::Status::OK;
  }
  grpc::Status ListConfigurations(grpc::ServerContext*, const v1::ListConfigurationsRequest*,
                                  v1::ListConfigurationsResponse* page) override {
    const std::lock_guard lock(store_.mutex);
    for (const auto& [id, one] : store_.configurations) *page->add_configurations() = one;
    return grpc::Status::OK;
  }

 private:
  Store& store_;
};

class FakeLiveData : public v1::LiveData::Service {
 public:
  explicit FakeLiveData(Store& store) : store_(store) {}

  // The only rule: soc is at most 100.
  grpc::Status IngestLiveData(
      grpc::ServerContext*,
      grpc::ServerReaderWriter<v1::IngestLiveDataResponse, v1::IngestLiveDataRequest>* stream)
      override {
    v1::IngestLiveDataRequest request;
    if (!stream->Read(&request) || !request.has_start()) {
      return {grpc::StatusCode::INVALID_ARGUMENT, "no start"};
    }
    const std::string session = request.start().session();
    v1::IngestLiveDataResponse response;
    {
      const std::lock_guard lock(store_.mutex);
      if (store_.refusals > 0) {
        --store_.refusals;
        return Busy();
      }
      response.set_committed_sequence(store_.sessions[session]);
    }
    stream->Write(response);
    while (stream->Read(&request)) {
      const std::lock_guard lock(store_.mutex);
      int64_t& committed = store_.sessions[session];
      if (request.batch().sequence() > committed + 1) {
        return {grpc::StatusCode::INVALID_ARGUMENT, "a gap"};
      }
      response.Clear();
      if (request.batch().sequence() == committed + 1) {
        Keep(request.batch(), response);
        ++committed;
      }
      response.set_committed_sequence(committed);
      // DATA_LOSS simulates a killed client: it gets no response and does not retry.
      if (store_.batches_until_cut == 0) return {grpc::StatusCode::DATA_LOSS, "cut"};
      if (store_.batches_until_cut > 0) --store_.batches_until_cut;
      stream->Write(response);
    }
    return grpc::Status::OK;
  }
  grpc::Status ExportLiveData(grpc::ServerContext*, const v1::ExportLiveDataRequest* request,
                              grpc::ServerWriter<v1::ExportLiveDataResponse>* writer) override {
    const std::lock_guard lock(store_.mutex);
    for (const auto& [id, entry] : store_.entries) {
      const int64_t seconds = entry.dt_stamp().seconds();
      if (entry.site_id() != request->site_ids(0) ||
          (request->has_start_time() && seconds < request->start_time().seconds()) ||
          (request->has_end_time() && seconds >= request->end_time().seconds())) {
        continue;
      }
      v1::ExportLiveDataResponse part;
      *part.add_live_data_entries() = entry;
      part.set_entry_count(1);
      writer->Write(part);
    }
    if (store_.export_breaks) return {grpc::StatusCode::UNAVAILABLE, "cut"};
    return grpc::Status::OK;
  }
  grpc::Status GetLiveDataEntry(grpc::ServerContext*, const v1::GetLiveDataEntryRequest* request,
                                v1::LiveDataEntry* entry) override {
    const std::lock_guard lock(store_.mutex);
    const auto found = store_.entries.find(request->id());
    if (found == store_.entries.end()) return NotFound();
    *entry = found->second;
    return grpc::Status::OK;
  }
  // A page token is the last id, because the files of the tests are in the order of time.
  grpc::Status ListLiveDataEntries(grpc::ServerContext*,
                                   const v1::ListLiveDataEntriesRequest* request,
                                   v1::ListLiveDataEntriesResponse* page) override {
    const std::lock_guard lock(store_.mutex);
    const int64_t after = request->page_token().empty() ? 0 : std::stoll(request->page_token());
    for (auto at = store_.entries.upper_bound(after); at != store_.entries.end(); ++at) {
      const v1::LiveDataEntry& entry = at->second;
      const int64_t seconds = entry.dt_stamp().seconds();
      if (entry.site_id() != request->site_id() ||
          (request->has_start_time() && seconds < request->start_time().seconds()) ||
          (request->has_end_time() && seconds >= request->end_time().seconds())) {
        continue;
      }
      *page->add_live_data_entries() = entry;
      if (page->live_data_entries_size() < request->page_size()) continue;
      page->set_next_page_token(absl::StrCat(at->first));
      break;
    }
    return grpc::Status::OK;
  }

 private:
  static grpc::Status Busy() {
    google::rpc::RetryInfo info;
    info.mutable_retry_delay()->set_nanos(1'000'000);
    google::rpc::Status status;
    status.set_code(grpc::StatusCode::RESOURCE_EXHAUSTED);
    status.add_details()->PackFrom(info);
    return {grpc::StatusCode::RESOURCE_EXHAUSTED, "busy", status.SerializeAsString()};
  }

  void Keep(const v1::IngestBatch& batch, v1::IngestLiveDataResponse& response) {
    v1::RefusedEntries refused;
    refused.set_sequence(batch.sequence());
    for (int i = 0; i < batch.entries_size(); ++i) {
      v1::LiveDataEntry entry = batch.entries(i);
      if (entry.soc() > 100) {
        google::rpc::BadRequest bad;
        bad.add_field_violations()->set_field(absl::StrCat("entries[", i, "].soc"));
        bad.mutable_field_violations(0)->set_description("must be at most 100");
        (*refused.mutable_failed_entries())[i].add_details()->PackFrom(bad);
        refused.set_failed_count(refused.failed_count() + 1);
        continue;
      }
      entry.set_id(store_.next_id++);
      store_.entries[entry.id()] = entry;
    }
    if (refused.failed_count() > 0) *response.add_refused() = std::move(refused);
  }

  Store& store_;
};

class ImportTest : public ::testing::Test {
 protected:
  ImportTest() : sites_(store_), configurations_(store_), live_data_(store_) {
    std::filesystem::create_directory(folder_);
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port_);
    builder.RegisterService(&sites_).RegisterService(&configurations_).RegisterService(&live_data_);
    server_ = builder.BuildAndStart();
    Write("sites.csv", "name,location\nHome,\"Fontana, California\"\nBarn,Fontana\n");
    Write("configurations.csv",
          "site_name,battery_vendor,battery_capacity_kwh,battery_max_power_kw,"
          "production_pv_units,production_bio_units,production_cro_units\n"
          "Home,Tesla,6.4,5,1,0,0\nHome,Tesla,6.4,5,1,0,0\nBarn,KATL,10,5,1,0,0\n");
    Write("live_data.csv", LiveData(kRows));
  }
  ~ImportTest() override {
    server_->Shutdown();
    std::filesystem::remove_all(folder_);
  }

  void Write(const std::string& name, const std::string& text) {
    std::ofstream(Path(name), std::ios::binary) << text;
  }
  std::string Path(const std::string& name) const { return folder_ + "/" + name; }

  // One row per minute for Home; the first two are equal. `soc_of_10` is the value in line 12.
  static std::string LiveData(int rows, const std::string& soc_of_10 = "10") {
    std::string text = kHeader;
    for (int i = 0; i < rows; ++i) {
      const int minute = i == 1 ? 0 : i;
      absl::StrAppend(&text, "Home,2016-08-", Two(1 + minute / 1440), "T", Two(minute / 60 % 24),
                      ":", Two(minute % 60), ":00Z,", i == 10 ? soc_of_10 : "50.5",
                      ",0.1,0,true,false,false\n");
    }
    return text;
  }
  static std::string Two(int number) { return absl::StrCat(number < 10 ? "0" : "", number); }

  ConnectionOptions Target() const {
    ConnectionOptions options;
    options.target = absl::StrCat("127.0.0.1:", port_);
    return options;
  }
  int Import() {
    ImportOptions options{
        Target(), Path("sites.csv"), Path("configurations.csv"), Path("live_data.csv"), {}};
    out_.str("");
    err_.str("");
    return RunImport(options, out_, err_);
  }
  void ExpectEverythingOnce() {
    EXPECT_EQ(store_.sites.size(), 2u);
    EXPECT_EQ(store_.configurations.size(), 3u);
    EXPECT_EQ(store_.entries.size(), size_t{kRows});
    std::ostringstream csv;
    EXPECT_EQ(RunExport({Target(), {"Home", ""}, "", "", ""}, csv, err_), 0) << err_.str();
    // Batches run concurrently, so ids and the lists of this fake may be in another order.
    EXPECT_EQ(Lines(csv.str()), Lines(LiveData(kRows) + "# end 12345 rows\n"));
  }
  static std::multiset<std::string> Lines(const std::string& text) {
    std::istringstream in(text);
    std::multiset<std::string> lines;
    for (std::string line; std::getline(in, line);) lines.insert(line);
    return lines;
  }

  static constexpr int kRows = 12'345;  // three batches
  static constexpr char kHeader[] =
      "site_name,dt_stamp,soc,load_kwh,net_load_kwh,pv_notification,bio_notification,"
      "cro_notification\n";
  const std::string folder_ = ::testing::TempDir() + "import_test_" +
                              ::testing::UnitTest::GetInstance()->current_test_info()->name() +
                              std::to_string(getpid());
  Store store_;
  FakeSites sites_;
  FakeConfigurations configurations_;
  FakeLiveData live_data_;
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
  std::ostringstream out_, err_;
};

TEST_F(ImportTest, StoresEveryRowAndTellsSo) {
  EXPECT_EQ(Import(), 0) << err_.str();
  EXPECT_THAT(out_.str(), HasSubstr("sites: 2 rows: 2 stored, 0 stored before, 0 bad"));
  EXPECT_THAT(out_.str(), HasSubstr("configurations: 3 rows: 3 stored, 0 stored before, 0 bad"));
  EXPECT_THAT(out_.str(), HasSubstr("live_data: 12,345 rows: 12,345 stored, 0 stored before"));
  ExpectEverythingOnce();
}

TEST_F(ImportTest, ASecondRunStoresNothing) {
  ASSERT_EQ(Import(), 0);
  EXPECT_EQ(Import(), 0);
  EXPECT_THAT(out_.str(), HasSubstr("live_data: 12,345 rows: 0 stored, 12,345 stored before"));
  ExpectEverythingOnce();
}

TEST_F(ImportTest, ASecondRunStoresNothingWhenTheServiceHasForgottenTheFirst) {
  ASSERT_EQ(Import(), 0);
  store_.answers.clear();
  store_.sessions.clear();
  EXPECT_EQ(Import(), 0);
  ExpectEverythingOnce();
}

TEST_F(ImportTest, GoesOnWhereItWasCut) {
  for (const int batches : {0, 1, 2}) {
    for (const bool forgotten : {false, true}) {
      store_.sites.clear();
      store_.configurations.clear();
      store_.entries.clear();
      store_.answers.clear();
      store_.sessions.clear();
      store_.batches_until_cut = batches;
      EXPECT_EQ(Import(), 1);
      EXPECT_THAT(err_.str(), HasSubstr("The import was interrupted"));
      store_.batches_until_cut = -1;
      if (forgotten) {
        store_.answers.clear();
        store_.sessions.clear();
      }
      EXPECT_EQ(Import(), 0) << err_.str();
      ExpectEverythingOnce();
    }
  }
}

TEST_F(ImportTest, StoresAgainWhatWasDeletedSince) {
  for (int run = 0; run < 3; ++run) {
    store_.sites.clear();
    store_.configurations.clear();
    store_.entries.clear();
    EXPECT_EQ(Import(), 0) << err_.str();
    ExpectEverythingOnce();
    store_.entries.clear();  // the site still exists
    EXPECT_EQ(Import(), 0) << err_.str();
    ExpectEverythingOnce();
  }
}

TEST_F(ImportTest, CountsEqualRows) {
  ASSERT_EQ(Import(), 0);
  // The first two rows of the file are equal; remove one of them.
  const auto lost =
      std::find_if(store_.entries.begin(), store_.entries.end(), [](const auto& entry) {
        return entry.second.dt_stamp().seconds() == 1'470'009'600;  // 2016-08-01T00:00:00Z
      });
  ASSERT_NE(lost, store_.entries.end());
  store_.entries.erase(lost);
  EXPECT_EQ(Import(), 0) << err_.str();
  EXPECT_THAT(out_.str(), HasSubstr("12,345 rows: 1 stored, 12,344 stored before"));
  ExpectEverythingOnce();
}

TEST_F(ImportTest, ReportsBadRowsAndStoresTheOthers) {
  std::string text = LiveData(kRows, "100.5");
  absl::StrAppend(&text, "Home,2016-08-20T00:00:00Z,1,2\n",
                  "Attic,2016-08-20T00:00:00Z,1,0,0,true,false,false\n");
  Write("live_data.csv", text);
  EXPECT_EQ(Import(), 1);
  EXPECT_EQ(
      err_.str(),
      absl::StrCat(Path("live_data.csv"), ":12: live_data_entry.soc: must be at most 100\n",
                   Path("live_data.csv"), ":12347: must have 8 columns, has 4\n",
                   Path("live_data.csv"), ":12348: site_name: there is no site named \"Attic\"\n"));
  EXPECT_THAT(out_.str(), HasSubstr("12,347 rows: 12,344 stored, 0 stored before, 3 bad"));

  // The corrected file adds only the corrected row.
  Write("live_data.csv", LiveData(kRows));
  EXPECT_EQ(Import(), 0) << err_.str();
  EXPECT_THAT(out_.str(), HasSubstr("12,345 rows: 1 stored, 12,344 stored before, 0 bad"));
  ExpectEverythingOnce();
}

TEST_F(ImportTest, ReportsANameThatStandsTwice) {
  Write("sites.csv", "name,location\nHome,Fontana\nBarn,Fontana\nHome,Ontario\n");
  EXPECT_EQ(Import(), 1);
  EXPECT_EQ(err_.str(),
            absl::StrCat(Path("sites.csv"),
                         ":4: site.name: is the same as in line 2; a name must occur only once\n"));
  EXPECT_EQ(store_.entries.size(), size_t{kRows});
}

TEST_F(ImportTest, WaitsForAServiceThatIsBusy) {
  store_.refusals = 20;
  EXPECT_EQ(Import(), 0) << err_.str();
  ExpectEverythingOnce();
}

TEST_F(ImportTest, AWrongHeaderStopsItBeforeAnythingIsStored) {
  Write("live_data.csv", "site_name,dt_stamp\n");
  EXPECT_EQ(Import(), 1);
  EXPECT_THAT(err_.str(), HasSubstr("live_data.csv:1: column soc is missing"));
  EXPECT_TRUE(store_.sites.empty());
}

TEST_F(ImportTest, SaysThatNothingAnswers) {
  server_->Shutdown();
  ImportOptions options{Target(), Path("sites.csv"), "", "", {}};
  options.connection.connect_timeout = absl::Milliseconds(200);
  EXPECT_EQ(RunImport(options, out_, err_), 1);
  EXPECT_THAT(err_.str(), HasSubstr(absl::StrCat("no connection to 127.0.0.1:", port_)));
}

TEST_F(ImportTest, ExportTakesNameIdAndRange) {
  ASSERT_EQ(Import(), 0);
  const std::string id = absl::StrCat(store_.entries.begin()->second.site_id());
  for (const SiteChoice& site : {SiteChoice{"Home", ""}, SiteChoice{"", id}}) {
    std::ostringstream csv;
    EXPECT_EQ(
        RunExport({Target(), site, "2016-08-01T00:02:00Z", "2016-08-01T00:04:00Z", ""}, csv, err_),
        0);
    EXPECT_EQ(csv.str(), absl::StrCat(kHeader,
                                      "Home,2016-08-01T00:02:00Z,50.5,0.1,0,true,false,false\n"
                                      "Home,2016-08-01T00:03:00Z,50.5,0.1,0,true,false,false\n"
                                      "# end 2 rows\n"));
  }
  const SiteChoice home{"Home", ""};
  std::ostringstream csv;
  EXPECT_EQ(RunExport({Target(), {"Attic", ""}, "", "", ""}, csv, err_), 1);
  EXPECT_THAT(err_.str(), HasSubstr("--site: there is no site named \"Attic\""));
  EXPECT_EQ(RunExport({Target(), {id, ""}, "", "", ""}, csv, err_), 1);
  EXPECT_THAT(err_.str(), HasSubstr(absl::StrCat("--site: there is no site named \"", id, "\"")));
  EXPECT_EQ(RunExport({Target(), {"", "999"}, "", "", ""}, csv, err_), 1);
  EXPECT_THAT(err_.str(), HasSubstr("--site_id: no site has the id 999"));
  EXPECT_EQ(RunExport({Target(), {"Home", id}, "", "", ""}, csv, err_), 1);
  EXPECT_THAT(err_.str(), HasSubstr("give --site=NAME or --site_id=ID, not both"));
  EXPECT_EQ(RunExport({Target(), home, "noon", "", ""}, csv, err_), 1);
  EXPECT_THAT(err_.str(), HasSubstr("--start_time: \"noon\" is not a time"));
  EXPECT_EQ(RunExport({Target(), home, "", "", folder_ + "/no/such/folder"}, csv, err_), 1);
  EXPECT_EQ(csv.str(), "");
}

TEST_F(ImportTest, AnExportThatBreaksLeavesTheOldFile) {
  ASSERT_EQ(Import(), 0);
  std::filesystem::create_directory(Path("exports"));
  const std::string output = Path("exports") + "/out.csv";
  std::ofstream(output) << "old";
  const ExportOptions options{Target(), {"Home", ""}, "", "", output};
  for (const bool breaks : {true, false}) {
    store_.export_breaks = breaks;
    std::ostringstream csv;
    EXPECT_EQ(RunExport(options, csv, err_), breaks ? 1 : 0);
    std::ifstream file(output);
    const std::string text{std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
    EXPECT_EQ(text == "old", breaks);
    const std::filesystem::directory_iterator files(Path("exports"));
    EXPECT_EQ(std::distance(begin(files), end(files)), 1);
  }
  EXPECT_THAT(err_.str(), HasSubstr("the export is not complete: cut"));
  // On standard output the missing end line shows that the export is incomplete.
  store_.export_breaks = true;
  std::ostringstream csv;
  EXPECT_EQ(RunExport({Target(), {"Home", ""}, "", "", ""}, csv, err_), 1);
  EXPECT_THAT(csv.str(), AllOf(HasSubstr("Home,2016-08-01"), Not(HasSubstr("# end"))));
}

}  // namespace
}  // namespace energysites
