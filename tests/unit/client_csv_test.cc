#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>
#include <zlib.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "clients/cli/csv.h"
#include "clients/cli/csv_file.h"
#include "clients/cli/utf8.h"

namespace energysites {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;

TEST(SplitCsvLineTest, TakesFieldsApart) {
  EXPECT_THAT(*SplitCsvLine("a,b,c"), ElementsAre("a", "b", "c"));
  EXPECT_THAT(*SplitCsvLine(""), ElementsAre(""));
  EXPECT_THAT(*SplitCsvLine(",,"), ElementsAre("", "", ""));
  EXPECT_THAT(*SplitCsvLine(R"("Fontana, California","say ""hi""","",x)"),
              ElementsAre("Fontana, California", R"(say "hi")", "", "x"));
}

TEST(SplitCsvLineTest, RefusesMisplacedQuotes) {
  EXPECT_THAT(SplitCsvLine(R"("open,1)").status().message(), HasSubstr("not terminated"));
  EXPECT_THAT(SplitCsvLine(R"(a"b,1)").status().message(), HasSubstr("an unquoted field"));
  EXPECT_THAT(SplitCsvLine(R"("a"b,1)").status().message(), HasSubstr("follows a closing quote"));
}

TEST(CsvFieldTest, IsReadBack) {
  EXPECT_EQ(CsvField("Building 1"), "Building 1");
  for (const char* text : {"", "a,b", R"(")", R"(a "b", c)", "Grüße"}) {
    EXPECT_THAT(*SplitCsvLine(CsvField(text) + ",x"), ElementsAre(text, "x"));
  }
}

class CsvFileTest : public ::testing::Test {
 protected:
  ~CsvFileTest() override { std::filesystem::remove(path_); }

  absl::StatusOr<std::unique_ptr<CsvFile>> Open(const std::string& content) {
    std::ofstream(path_, std::ios::binary) << content;
    return CsvFile::Open(path_, {{"name"}, {"size"}, {"note", /*required=*/false}});
  }

  // The rows as `line:field|field|field` or `line:error`.
  std::vector<std::string> Rows(const std::string& content) {
    absl::StatusOr<std::unique_ptr<CsvFile>> file = Open(content);
    EXPECT_TRUE(file.ok()) << file.status();
    std::vector<std::string> rows;
    while (file.ok()) {
      absl::StatusOr<std::optional<CsvRow>> row = (*file)->Next();
      EXPECT_TRUE(row.ok()) << row.status();
      if (!row.ok() || !row->has_value()) break;
      std::string text = std::to_string((*row)->line) + ":";
      if (!(*row)->status.ok()) text += std::string((*row)->status.message());
      for (const std::string& field : (*row)->fields) text += field + "|";
      rows.push_back(text);
    }
    return rows;
  }

  std::string HeaderError(const std::string& content) {
    return std::string(Open(content).status().message());
  }

  const std::string path_ = ::testing::TempDir() + "csv_file_test_" +
                            ::testing::UnitTest::GetInstance()->current_test_info()->name() +
                            std::to_string(getpid());
};

TEST_F(CsvFileTest, ReadsRowsWithTheirLines) {
  EXPECT_THAT(Rows("name,size\na,1\n\nb,2"), ElementsAre("2:a|1||", "4:b|2||"));
}

TEST_F(CsvFileTest, TakesByteOrderMarkAndCrlf) {
  EXPECT_THAT(Rows("\xEF\xBB\xBFname,size\r\na,1\r\n"), ElementsAre("2:a|1||"));
}

TEST_F(CsvFileTest, TakesColumnsInAnyOrder) {
  EXPECT_THAT(Rows("note,size,name\nn,1,a\n"), ElementsAre("2:a|1|n|"));
}

TEST_F(CsvFileTest, GoesOnAfterABadLine) {
  EXPECT_THAT(Rows("name,size\na\n\"b,2\nc,3,4\nd,4\n"),
              ElementsAre("2:must have 2 columns, has 1", "3:a quoted field is not terminated",
                          HasSubstr("4:must have 2 columns, has 3; numbers must have"), "5:d|4||"));
}

TEST_F(CsvFileTest, DropsAnEndlessLineAndGoesOn) {
  EXPECT_THAT(Rows("name,size\n" + std::string(1'000'000, 'x') + ",1\nb,2\n"),
              ElementsAre(HasSubstr("2:the line is longer than"), "3:b|2||"));
}

TEST_F(CsvFileTest, ReadsLinesAcrossItsBuffer) {
  std::string content = "name,size\n";
  const std::string name(60'000, 'n');
  for (int i = 0; i < 50; ++i) content += name + "," + std::to_string(i) + "\n";
  const std::vector<std::string> rows = Rows(content);
  ASSERT_THAT(rows, SizeIs(50));
  for (int i = 0; i < 50; ++i) {
    EXPECT_EQ(rows[i], std::to_string(i + 2) + ":" + name + "|" + std::to_string(i) + "||");
  }
}

TEST_F(CsvFileTest, ChecksTheHeader) {
  EXPECT_THAT(HeaderError(""), HasSubstr(":1: the file is empty"));
  EXPECT_THAT(HeaderError("a,1\n"), HasSubstr(":1: unknown column \"a\""));
  EXPECT_THAT(HeaderError("name\n"), HasSubstr(":1: column size is missing"));
  EXPECT_THAT(HeaderError("name,size,name\n"), HasSubstr(":1: column name is repeated"));
  EXPECT_THAT(HeaderError("\"name,size\n"), HasSubstr(":1: a quoted field"));
  EXPECT_THAT(HeaderError("Name,size\n"), HasSubstr(":1: column \"Name\" must be written name"));
  EXPECT_THAT(HeaderError("name, size\n"), HasSubstr(":1: column \" size\" must be written size"));
  EXPECT_THAT(HeaderError("\"name\";\"size\"\n"),
              HasSubstr(":1: the columns are separated by semi"));
  for (const char* header : {"name,size\ra,1\r", "name;size\r\ra;1", "name\tsize\ra\t1\r\n"}) {
    EXPECT_THAT(HeaderError(header), HasSubstr(":1: the lines end with CR alone"));
  }
}

TEST_F(CsvFileTest, IgnoresPaddingOfSpreadsheets) {
  EXPECT_THAT(
      Rows("name,size,,\na,1,,\n,,,\n\"b\",2,\n,\nc,3\nd,4,,x\n"),
      ElementsAre("2:a|1||", "4:b|2||", "6:c|3||", HasSubstr("7:must have 2 columns, has 4")));
}

TEST_F(CsvFileTest, WarnsOfALastLineInWhichACutWouldNotBeSeen) {
  const auto warning = [this](const std::string& content) {
    auto file = Open(content);
    EXPECT_TRUE(file.ok()) << file.status();
    while (true) {
      auto row = (*file)->Next();
      EXPECT_TRUE(row.ok()) << row.status();
      if (!row->has_value()) return (*file)->warning();
    }
  };
  // The last two are complete only in a column of type boolean or timestamp.
  for (const char* field :
       {"1", "1.", "12.75", "", "Kiel", "Graz", "t", "TRUE", "2024-06-01T08:00:00Z"}) {
    EXPECT_THAT(warning(std::string("name,size\na,1\nb,") + field),
                HasSubstr(std::string(":3: warning: the last line has no line end and its last "
                                      "field is \"") +
                          field + "\""));
    EXPECT_EQ(warning(std::string("name,size\na,1\nb,") + field + "\n"), "");
    // Padding proves that the field before it is complete.
    EXPECT_EQ(warning(std::string("name,size\na,1\nb,") + field + ","), "");
  }
  EXPECT_EQ(warning("name,size\na,1\nb,\"Kiel\""), "");
}

TEST_F(CsvFileTest, RefusesTextThatIsNotUtf8) {
  EXPECT_THAT(HeaderError("n\xFC,size\n"), HasSubstr(":1: byte 0xFC at position 2 is not UTF-8"));
  EXPECT_THAT(HeaderError(std::string("n\0a\0,\0", 6)), HasSubstr("the file is UTF-16"));
  auto file = Open("name,size\na,1\nM\xFChle,2\n");
  ASSERT_TRUE(file.ok());
  ASSERT_TRUE((*file)->Next().ok());
  EXPECT_THAT((*file)->Next().status().message(),
              HasSubstr(":3: byte 0xFC at position 2 is not UTF-8"));
}

TEST(Utf8Test, KnowsWhatIsValid) {
  for (const char* text :
       {"", "Mühle", "\u20AC", "\U0001F50B", "\xEE\x80\x80", "\xF4\x8F\xBF\xBF"}) {
    EXPECT_EQ(ValidUtf8Length(text), std::string(text).size()) << text;
  }
  // A continuation byte, overlong, a surrogate, above U+10FFFF, truncated, followed by ASCII.
  for (const char* text :
       {"\x80", "\xC0\x80", "\xC1\xBF", "\xE0\x9F\xBF", "\xED\xA0\x80", "\xF0\x8F\xBF\xBF",
        "\xF4\x90\x80\x80", "\xF5\x80\x80\x80", "\xFF", "\xE2\x82", "\xC3(", "\xE2\x82("}) {
    EXPECT_EQ(ValidUtf8Length(std::string("ab") + text), 2u) << absl::CHexEscape(text);
  }
}

TEST(Utf8Test, QuotesForATerminal) {
  EXPECT_EQ(Quoted("Mühle"), "\"Mühle\"");
  EXPECT_EQ(Quoted("a\"b\n\x1B[2J"), "\"a\\\"b\\n\\033[2J\"");
  EXPECT_EQ(Quoted("\xC2\x9B"), "\"\\xc2\\x9b\"");
  EXPECT_EQ(Quoted("M\xFChle"), "\"M\\xfchle\"");
  EXPECT_EQ(Quoted(std::string(79, 'x') + "ü"), "\"" + std::string(79, 'x') + "\"");
}

TEST_F(CsvFileTest, MissingFileIsAnError) {
  EXPECT_THAT(CsvFile::Open(path_ + "_absent", {{"name"}}).status().message(),
              HasSubstr("No such file"));
}

TEST_F(CsvFileTest, ReadsGzipAndTellsWhenItIsCutShort) {
  std::string content = "name,size\n";
  for (int i = 0; i < 100'000; ++i) {
    content += "site " + std::to_string(i * 7919) + "," + std::to_string(i) + "\n";
  }
  gzFile gz = gzopen(path_.c_str(), "wb");
  ASSERT_EQ(gzwrite(gz, content.data(), content.size()), static_cast<int>(content.size()));
  ASSERT_EQ(gzclose(gz), Z_OK);

  const auto count = [this](absl::Status& end) {
    int rows = 0;
    auto file = CsvFile::Open(path_, {{"name"}, {"size"}});
    for (; file.ok(); ++rows) {
      auto row = (*file)->Next();
      end = row.status();
      if (!row.ok() || !row->has_value()) break;
    }
    return rows;
  };
  absl::Status end;
  EXPECT_EQ(count(end), 100'000);
  EXPECT_TRUE(end.ok()) << end;

  std::filesystem::resize_file(path_, std::filesystem::file_size(path_) / 2);
  const int rows = count(end);
  EXPECT_GT(rows, 0);
  EXPECT_LT(rows, 100'000);
  EXPECT_THAT(end.message(),
              HasSubstr("the file ends inside the gzip member that begins at byte 0"));
}

class DownloadedCsvTest : public CsvFileTest {
 protected:
  // Reads `content` to its end: returns the rows, then the error, if any.
  std::string Read(const std::string& content) {
    std::ofstream(path_, std::ios::binary) << content;
    absl::StatusOr<std::unique_ptr<CsvFile>> file =
        CsvFile::Open(path_, {{"name", /*required=*/true, CsvColumn::kNotDownload},
                              {"size"},
                              {"id", /*required=*/true, CsvColumn::kDownload}});
    if (!file.ok()) return std::string(file.status().message());
    for (int rows = 0;; ++rows) {
      absl::StatusOr<std::optional<CsvRow>> row = (*file)->Next();
      if (!row.ok()) return std::to_string(rows) + ": " + std::string(row.status().message());
      if (!row->has_value()) return std::to_string(rows);
    }
  }
};

TEST_F(DownloadedCsvTest, MustEndWithTheNumberOfItsRows) {
  EXPECT_EQ(Read("id,size\n1,1\n2,2\n# end 2 rows\n"), "2");
  EXPECT_EQ(Read("id,size\r\n1,1\r\n# end 1 rows\r\n\r\n"), "1");
  EXPECT_EQ(Read("id,size\n# end 0 rows"), "0");
  EXPECT_EQ(Read("id,size\n1,1\n# end 1 rows,\n,\n"), "1");
  for (const char* end :
       {"\"# end 1 rows\"", "\"# end 1 rows\",,,", "\"# end 1 rows\",\"\",\"\""}) {
    EXPECT_EQ(Read(std::string("id,size\n1,1\n") + end + "\n"), "1") << end;
  }
  for (const char* cut : {"id,size\n1,1\n2,2\n", "id,size\n1,1\n2,2", "id,size\n1,1\n2,2\n# end",
                          "id,size\n1,1\n2,2\n# end 2 row"}) {
    EXPECT_THAT(Read(cut), HasSubstr("without the line \"# end N rows\"")) << cut;
  }
  EXPECT_THAT(Read("id,size\n"), HasSubstr("0: "));
  EXPECT_THAT(Read("id,size\n1,1\n# end 2 rows\n"), HasSubstr("had 2 rows, the file has 1"));
  EXPECT_THAT(Read("id,size\n1,1\n# end 1 rows\n2,2\n"), HasSubstr("data after the end line"));
}

TEST_F(DownloadedCsvTest, IsKnownByItsColumns) {
  // Other files need no end line, but if there is one, its number must be correct.
  EXPECT_EQ(Read("name,size\na,1\n"), "1");
  EXPECT_EQ(Read("name,size\na,1\n# end 1 rows\n"), "1");
  EXPECT_THAT(Read("name,size\na,1\n# end 7 rows\n"), HasSubstr("had 7 rows"));
  EXPECT_THAT(Read("size\n1\n"), HasSubstr("column name is missing; the header must be name,size"));
}

}  // namespace
}  // namespace energysites
