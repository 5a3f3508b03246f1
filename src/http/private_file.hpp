// Reading files whose content is secret, or decides where secrets go.
#pragma once

#include <sys/stat.h>

#include <string>
#include <vector>

namespace reconciler::http {

// Opened once: what is checked is what is read, whatever happens to the name meanwhile.
class PrivateFile {
 public:
  // `what` begins the messages: 'token file of credential "hub"'. Throws ConfigError where the file is
  // missing, no regular file, or writable by others; adds to `warnings` where everybody can read it.
  PrivateFile(std::string name, std::string what, std::vector<std::string>& warnings);
  ~PrivateFile();
  PrivateFile(const PrivateFile&) = delete;
  PrivateFile& operator=(const PrivateFile&) = delete;

  void must_be_ours() const;  // owner: this user or root. Throws ConfigError
  std::string read() const;   // all of it; longer than 1 MiB is a ConfigError
  const struct stat& status() const { return status_; }

 private:
  std::string name_, what_;
  int fd_;
  struct stat status_;
};

}  // namespace reconciler::http
