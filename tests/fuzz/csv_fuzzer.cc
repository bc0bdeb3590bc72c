// Any file as one to import: rows are read or refused, and what was read is written as a line that
// reads back the same.
//
// The first byte chooses the kind of file; the rest is the file, plain or gzip.
#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "clients/cli/csv.h"
#include "clients/cli/csv_file.h"
#include "clients/cli/rows.h"
#include "energysites/v1/configurations.pb.h"
#include "energysites/v1/live_data.pb.h"
#include "energysites/v1/sites.pb.h"
#include "tests/fuzz/require.h"

namespace energysites::fuzz {
namespace {

using google::protobuf::Message;

struct Kind {
  const std::vector<CsvColumn>& columns;
  const Message& prototype;
};

const Kind& KindOf(uint8_t byte) {
  static const Kind kinds[] = {
      {SiteColumns(), v1::Site::default_instance()},
      {ConfigurationColumns(), v1::Configuration::default_instance()},
      {LiveDataColumns(), v1::LiveDataEntry::default_instance()},
      {LiveDataOrDownloadColumns(), v1::LiveDataEntry::default_instance()}};
  return kinds[byte % std::size(kinds)];
}

// A file in memory, there as long as the object.
class MemoryFile {
 public:
  MemoryFile(const uint8_t* data, size_t size) : file_(memfd_create("csv", 0)) {
    Require(write(file_, data, size) == static_cast<ssize_t>(size), "the file can be written");
  }
  ~MemoryFile() { close(file_); }
  MemoryFile(const MemoryFile&) = delete;
  MemoryFile& operator=(const MemoryFile&) = delete;

  std::string path() const { return absl::StrCat("/proc/self/fd/", file_); }

 private:
  const int file_;
};

void CheckRoundTrip(const Kind& kind, const Message& message, const std::string& first_field) {
  const std::string line = WriteRow(message, kind.columns, first_field);
  CsvRow again;
  again.fields = SplitCsvLine(line).value();
  Require(again.fields.size() == kind.columns.size(), "a row has a field for each column");
  const std::unique_ptr<Message> copy(message.New());
  Require(ReadRow(again, kind.columns, "row", *copy).empty(), "a row that was written is read");
  // Bit by bit: NaN is not equal to itself.
  Require(copy->SerializeAsString() == message.SerializeAsString(),
          "a row reads back as it was written");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return -1;
  const Kind& kind = KindOf(data[0]);
  const MemoryFile memory(data + 1, size - 1);
  const auto file = CsvFile::Open(memory.path(), kind.columns);
  if (!file.ok()) return 0;
  int64_t last_line = 1;
  while (true) {
    const auto row = (*file)->Next();
    if (!row.ok() || !row->has_value()) return 0;
    Require((*row)->line > last_line, "lines are counted");
    last_line = (*row)->line;
    const std::unique_ptr<Message> message(kind.prototype.New());
    const auto faults = ReadRow(**row, kind.columns, "row", *message);
    if ((*row)->status.ok() && faults.empty()) {
      CheckRoundTrip(kind, *message, (*row)->fields[0]);
    }
  }
}

}  // namespace energysites::fuzz
