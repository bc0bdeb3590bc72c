#include "storage/postgres/dsn.h"

#include <pwd.h>
#include <unistd.h>

#include <cstdlib>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/matchers.h"

namespace energysites::storage {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;
using testing_support::IsOk;
using testing_support::StatusIs;

TEST(DsnTest, ReadsDsnsAndUris) {
  for (const char* url : {"host=db.example port=6432 user=app password=pa55 dbname=energy",
                          "postgresql://app:pa55@db.example:6432/energy",
                          "postgres://db.example:6432/energy?user=app&password=pa55"}) {
    const auto dsn = CompleteDsn(url);
    ASSERT_THAT(dsn, IsOk()) << url;
    EXPECT_THAT(*dsn, AllOf(HasSubstr("host='db.example'"), HasSubstr("port='6432'"),
                            HasSubstr("user='app'"), HasSubstr("password='pa55'"),
                            HasSubstr("dbname='energy'")));
    EXPECT_EQ(*UserOfDsn(url), "app");
    EXPECT_THAT(DsnWithoutSecrets(url), AllOf(HasSubstr("user='app'"), Not(HasSubstr("pa55"))));
  }
}

TEST(DsnTest, GivesTimeoutsOnlyWhereThereAreNone) {
  EXPECT_THAT(*CompleteDsn(""),
              AllOf(HasSubstr("connect_timeout='2'"), HasSubstr("tcp_user_timeout='10000'"),
                    HasSubstr("keepalives_idle='5'"), Not(HasSubstr("user="))));
  EXPECT_THAT(*CompleteDsn("connect_timeout=9 tcp_user_timeout=7 application_name=mine"),
              AllOf(HasSubstr("connect_timeout='9'"), HasSubstr("tcp_user_timeout='7'"),
                    HasSubstr("application_name='mine'"), Not(HasSubstr("connect_timeout='2'"))));
  // Always set, because all texts of the contract are UTF-8.
  EXPECT_THAT(*CompleteDsn("client_encoding=LATIN1"), HasSubstr("client_encoding='UTF8'"));
}

TEST(DsnTest, KeepsQuotesSpacesAndBackslashes) {
  const std::string dsn = *CompleteDsn(R"(user='o\'hara \\ co' password='it\'s a = \\ secret')");
  EXPECT_EQ(*UserOfDsn(dsn), R"(o'hara \ co)");
  // Completing a completed DSN does not change it.
  EXPECT_EQ(*CompleteDsn(dsn), dsn);
  EXPECT_THAT(DsnWithoutSecrets(dsn), Not(HasSubstr("secret")));
  EXPECT_EQ(*UserOfDsn("postgresql://o%27hara:x@h/"), "o'hara");
}

// Regression: `migrate` granted no privileges if neither the URL nor PGUSER had the role.
TEST(DsnTest, KnowsTheUserThatLibpqTakes) {
  unsetenv("PGUSER");
  EXPECT_EQ(*UserOfDsn("host=h"), getpwuid(geteuid())->pw_name);
  setenv("PGUSER", "somebody", 1);
  EXPECT_EQ(*UserOfDsn("host=h"), "somebody");
  EXPECT_EQ(*UserOfDsn("host=h user=app"), "app");
  unsetenv("PGUSER");
}

TEST(DsnTest, HidesEverySecret) {
  EXPECT_THAT(DsnWithoutSecrets("password=first sslpassword=second sslkey=/etc/key"),
              AllOf(Not(HasSubstr("first")), Not(HasSubstr("second")), HasSubstr("/etc/key")));
  const std::string broken = "host=a password='secret";
  EXPECT_THAT(DsnWithoutSecrets(broken), Not(HasSubstr("secret")));
  EXPECT_THAT(CompleteDsn(broken),
              StatusIs(absl::StatusCode::kInvalidArgument, Not(HasSubstr("secret"))));
  EXPECT_THAT(UserOfDsn("secret"),
              StatusIs(absl::StatusCode::kInvalidArgument, Not(HasSubstr("secret"))));
}

}  // namespace
}  // namespace energysites::storage
