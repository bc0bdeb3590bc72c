// Flags, environment variables and files of the real program.
#include <fstream>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/process.h"

namespace energysites {
namespace {

using testing::AllOf;
using testing::AnyOf;
using testing::HasSubstr;
using testing::Not;
using testing_support::Outcome;
using testing_support::RunProgram;
using testing_support::TempDir;

Outcome RunService(std::vector<std::string> arguments,
                   const std::vector<std::string>& environment = {}) {
  arguments.insert(arguments.begin(), ENERGY_SITES_BINARY);
  return RunProgram(arguments, environment);
}

TEST(OptionsTest, RefusesWhatMakesNoSense) {
  struct BadCase {
    std::vector<std::string> arguments;
    std::vector<std::string> environment;
    std::string text;
  };
  const BadCase kCases[] = {
      {{"serve", "--no_such_flag=1"}, {}, "no_such_flag"},
      {{"serve", "--queue_limit=many"}, {}, "queue_limit"},
      {{"serve", "--queue_limit=0"}, {}, "--queue_limit must be from 1 to 1000000, not 0"},
      {{"serve", "--database_connections=1001"}, {}, "--database_connections must be"},
      {{"serve", "--services=sites,weather"}, {}, "not 'weather'"},
      {{"serve", "--services="}, {}, "--services is empty"},
      {{"serve", "--tls_cert=a.pem"}, {}, "--tls_cert and --tls_key must be set together"},
      {{"serve", "--tls_client_ca=a.pem"}, {}, "--tls_client_ca requires --tls_cert"},
      {{"serve", "--statement_timeout=soon"}, {}, "statement_timeout"},
      {{"serve", "--statement_timeout=-1s"}, {}, "--statement_timeout must be"},
      {{"serve", "--statement_timeout=500us"}, {}, "--statement_timeout must be"},
      {{"serve", "--lock_timeout=inf"}, {}, "--lock_timeout must be"},
      {{"serve", "--idle_in_transaction_timeout=0"}, {}, "--idle_in_transaction_timeout must be"},
      {{"serve", "--database_url_file=/no/such/file"}, {}, "cannot read /no/such/file"},
      {{"serve", "--database_url_file=/"}, {}, "cannot read /"},
      {{"serve", "--database_url_file=/dev/null"}, {}, "/dev/null is empty"},
      {{"serve", "--request_id_ttl=0"}, {}, "--request_id_ttl must be from 1s to 8784h"},
      {{"serve", "--ingest_session_ttl=inf"}, {}, "--ingest_session_ttl must be"},
      {{"serve", "--live_data_retention=23h"}, {}, "--live_data_retention must be from 24h"},
      {{"maintain", "--live_data_retention=-inf"}, {}, "--live_data_retention must be"},
      {{"serve", "--maintenance_interval=1ms"}, {}, "--maintenance_interval must be from 100ms"},
      {{"serve"}, {"ENERGY_SITES_QUEUE_LIMIT=x"}, "invalid value of ENERGY_SITES_QUEUE_LIMIT"},
      {{"serve"}, {"DATABASE_URL=nonsense secret"}, "neither a libpq DSN nor a URI"},
      {{}, {}, "one command is required"},
      {{"dance"}, {}, "unknown command dance"},
      {{"serve", "serve"}, {}, "one command is required"},
  };
  for (const BadCase& bad : kCases) {
    const Outcome outcome = RunService(bad.arguments, bad.environment);
    EXPECT_EQ(outcome.exit_code, 1) << bad.text;
    EXPECT_THAT(outcome.err, AllOf(HasSubstr(bad.text), Not(HasSubstr("secret"))));
  }
}

TEST(OptionsTest, SaysHowADurationAndANumberAreWritten) {
  const std::string kDuration = "is not a duration; write a number with a unit, such as 500ms, 5s";
  const std::string kNumber = "is not a whole number; write digits alone, such as 10";
  int durations = 0;
  const std::vector<std::string> lines =
      absl::StrSplit(RunService({"serve", "--print_config"}).out, '\n');
  for (const std::string& line : lines) {
    if (!absl::StartsWith(line, "--")) continue;
    const std::string name = line.substr(2, line.find('=') - 2);
    const Outcome outcome = RunService({"serve", "--print_config", absl::StrCat("--", name, "=x")});
    if (outcome.exit_code == 0 || name == "print_config")
      continue;  // Strings, and the only boolean.
    EXPECT_THAT(outcome.err, HasSubstr(absl::StrCat("invalid value of --", name, ": 'x' is not")));
    EXPECT_THAT(outcome.err, AnyOf(HasSubstr(kDuration), HasSubstr(kNumber)));
    durations += absl::StrContains(outcome.err, kDuration) ? 1 : 0;
  }
  EXPECT_GE(durations, 10);

  struct Case {
    std::vector<std::string> arguments;
    std::vector<std::string> environment;
    std::string text;
  };
  const Case kCases[] = {
      {{"serve", "--drain_delay=5"}, {}, "invalid value of --drain_delay: '5' " + kDuration},
      {{"serve", "--drain-delay", "5"}, {}, "invalid value of --drain_delay: '5' " + kDuration},
      {{"serve", "-drain_delay=5 s"}, {}, "invalid value of --drain_delay: '5 s' " + kDuration},
      {{"maintain", "--request_id_ttl=7d"},
       {},
       "invalid value of --request_id_ttl: '7d' " + kDuration},
      {{"serve", "--drain_seconds=5s"}, {}, "invalid value of --drain_seconds: '5s' " + kNumber},
      {{"serve"},
       {"ENERGY_SITES_DRAIN_DELAY=5"},
       "invalid value of ENERGY_SITES_DRAIN_DELAY: '5' " + kDuration},
      {{"serve"},
       {"ENERGY_SITES_DRAIN_SECONDS=5s"},
       "invalid value of ENERGY_SITES_DRAIN_SECONDS: '5s' " + kNumber},
  };
  for (const Case& bad : kCases) {
    const Outcome outcome = RunService(bad.arguments, bad.environment);
    EXPECT_EQ(outcome.exit_code, 1) << bad.text;
    EXPECT_THAT(outcome.err, HasSubstr(bad.text));
  }
  EXPECT_THAT(RunService({"serve", "--print_config", "--drain_delay", "90s"}).out,
              HasSubstr("--drain_delay=1m30s\n"));
}

TEST(OptionsTest, TheCommandLineBeatsTheEnvironmentBeatsTheDefault) {
  const std::vector<std::string> environment = {"ENERGY_SITES_QUEUE_LIMIT=7"};
  EXPECT_THAT(RunService({"serve", "--print_config"}).out, HasSubstr("--queue_limit=1000\n"));
  EXPECT_THAT(RunService({"serve", "--print_config"}, environment).out,
              HasSubstr("--queue_limit=7\n"));
  EXPECT_THAT(RunService({"serve", "--print_config", "--queue_limit=9"}, environment).out,
              HasSubstr("--queue_limit=9\n"));
}

TEST(OptionsTest, DashesCountAsUnderscores) {
  const Outcome outcome = RunService({"serve", "--print-config", "--listen-address=my-host:1"});
  EXPECT_EQ(outcome.exit_code, 0);
  EXPECT_THAT(outcome.out, HasSubstr("--listen_address=my-host:1\n"));
}

TEST(OptionsTest, PrintedConfigHidesSecrets) {
  const TempDir dir;
  std::ofstream(dir.path() + "/url") << "postgresql://owner:from-file@db.example/energy\n";
  const Outcome outcome = RunService(
      {"serve", "--print_config", absl::StrCat("--migrate_database_url_file=", dir.path(), "/url")},
      {"DATABASE_URL=host=db.example user=app password='from environment' dbname=energy"});
  EXPECT_EQ(outcome.exit_code, 0);
  EXPECT_THAT(outcome.out, AllOf(HasSubstr("user='app'"), HasSubstr("user='owner'"),
                                 HasSubstr("password='********'"), HasSubstr("host='db.example'")));
  EXPECT_THAT(outcome.out + outcome.err,
              AllOf(Not(HasSubstr("from environment")), Not(HasSubstr("from-file"))));
}

TEST(OptionsTest, TheOwnerIsTheAppRoleUnlessNamed) {
  const Outcome outcome = RunService({"--print_config"}, {"DATABASE_URL=host=db.example user=app"});
  EXPECT_THAT(outcome.out, HasSubstr("MIGRATE_DATABASE_URL: application_name='energy-sites'"));
  EXPECT_THAT(outcome.out.substr(outcome.out.find("MIGRATE_DATABASE_URL: ")),
              HasSubstr("user='app'"));
}

TEST(OptionsTest, PrintsItsVersion) {
  const Outcome outcome = RunService({"version"});
  EXPECT_EQ(outcome.exit_code, 0);
  EXPECT_THAT(outcome.out, testing::MatchesRegex("energy-sites [0-9]+\\.[0-9]+\\.[0-9]+\n"));
}

}  // namespace
}  // namespace energysites
