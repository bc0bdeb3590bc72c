#include "tests/support/process.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <stdexcept>

namespace energysites::testing_support {
namespace {

std::vector<char*> Pointers(std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  for (std::string& text : texts) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

}  // namespace

TempDir::TempDir() {
  // Short, because the paths of sockets are limited to 107 bytes.
  char path[] = "/tmp/energy-sites-test.XXXXXX";
  if (mkdtemp(path) == nullptr || chmod(path, 0755) != 0) {
    throw std::runtime_error("cannot make a folder in /tmp");
  }
  path_ = path;
}

TempDir::~TempDir() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

pid_t StartProgram(const std::vector<std::string>& arguments,
                   const std::vector<std::string>& environment, const std::string& out_file,
                   const std::string& err_file) {
  std::vector<std::string> argument_texts = arguments;
  std::vector<std::string> environment_texts = environment;
  environment_texts.push_back("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  posix_spawn_file_actions_addopen(&files, 0, "/dev/null", O_RDONLY, 0);
  const int flags = O_WRONLY | O_CREAT | O_TRUNC | O_APPEND;
  posix_spawn_file_actions_addopen(&files, 1, out_file.c_str(), flags, 0644);
  posix_spawn_file_actions_addopen(&files, 2, err_file.c_str(), flags, 0644);
  pid_t pid = 0;
  const int error =
      posix_spawnp(&pid, arguments[0].c_str(), &files, nullptr, Pointers(argument_texts).data(),
                   Pointers(environment_texts).data());
  posix_spawn_file_actions_destroy(&files);
  if (error != 0) throw std::runtime_error("cannot start " + arguments[0]);
  return pid;
}

int WaitFor(pid_t pid) {
  int status = 0;
  while (waitpid(pid, &status, 0) < 0) {
    if (errno != EINTR) throw std::runtime_error("waitpid failed");
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

Outcome RunProgram(const std::vector<std::string>& arguments,
                   const std::vector<std::string>& environment) {
  const TempDir dir;
  const std::string out = dir.path() + "/out", err = dir.path() + "/err";
  Outcome outcome;
  outcome.exit_code = WaitFor(StartProgram(arguments, environment, out, err));
  outcome.out = ReadWholeFile(out);
  outcome.err = ReadWholeFile(err);
  return outcome;
}

std::string ReadWholeFile(const std::string& path) {
  std::ifstream stream(path);
  return {std::istreambuf_iterator<char>(stream), std::istreambuf_iterator<char>()};
}

}  // namespace energysites::testing_support
