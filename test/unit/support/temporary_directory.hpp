// A directory of a test's own, gone with it.
#pragma once

#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

namespace reconciler::testing {

class TemporaryDirectory {
 public:
  TemporaryDirectory() {
    std::string pattern = (std::filesystem::temp_directory_path() / "reconciler_test_XXXXXX").string();
    if (::mkdtemp(pattern.data()) == nullptr) std::abort();
    path_ = pattern;
  }
  ~TemporaryDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;

  std::string path(const std::string& name) const { return path_ + "/" + name; }
  // A new file each time, so that its inode changes as with any careful writer. Returns its path.
  std::string write(const std::string& name, const std::string& content, mode_t mode = 0600) const {
    std::string target = path(name), fresh = target + ".new";
    std::ofstream(fresh, std::ios::binary) << content;
    ::chmod(fresh.c_str(), mode);
    std::filesystem::rename(fresh, target);
    return target;
  }

 private:
  std::string path_;
};

}  // namespace reconciler::testing
