// Programs that a test starts.
#ifndef TESTS_SUPPORT_PROCESS_H_
#define TESTS_SUPPORT_PROCESS_H_

#include <sys/types.h>

#include <string>
#include <vector>

namespace energysites::testing_support {

// A temporary folder that all users may read; removed with the object.
class TempDir {
 public:
  TempDir();
  ~TempDir();
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;

  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// Starts a program, found in PATH, with its output in the two files. `environment` holds
// NAME=value; PATH is always set.
pid_t StartProgram(const std::vector<std::string>& arguments,
                   const std::vector<std::string>& environment, const std::string& out_file,
                   const std::string& err_file);

// Waits for the end of a program. Returns its exit code, or 128 plus the signal number.
int WaitFor(pid_t pid);

struct Outcome {
  int exit_code = 0;
  std::string out;
  std::string err;
};

// Runs a program to its end.
Outcome RunProgram(const std::vector<std::string>& arguments,
                   const std::vector<std::string>& environment = {});

std::string ReadWholeFile(const std::string& path);

}  // namespace energysites::testing_support

#endif  // TESTS_SUPPORT_PROCESS_H_
