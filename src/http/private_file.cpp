#include "http/private_file.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

#include "http/credentials.hpp"

namespace reconciler::http {
namespace {

constexpr std::size_t kLongest = 1 << 20;

std::string quoted(const std::string& name) { return "\"" + name + "\""; }

[[noreturn]] void fail_system(const std::string& what, const std::string& name, const char* verb, int error,
                              const std::string& hint) {
  throw ConfigError("could not " + std::string(verb) + " " + what + " " + quoted(name) + ": " +
                        std::generic_category().message(error), hint);
}

void check_mode(const struct stat& status, const std::string& name, const std::string& what,
                std::vector<std::string>& warnings) {
  if (!S_ISREG(status.st_mode))
    throw ConfigError(what + " " + quoted(name) + " is not a regular file", "Name a file that can be read.");
  if (status.st_mode & (S_IWGRP | S_IWOTH))
    throw ConfigError(what + " " + quoted(name) + " can be written by its group or by others",
                      "Whoever writes it decides where secrets go: chmod 0600 (or 0640) " + quoted(name) + ".");
  if (status.st_mode & S_IROTH)
    warnings.push_back(what + " " + quoted(name) + " can be read by every user of this machine: chmod 0600 or 0640");
}

}  // namespace

PrivateFile::PrivateFile(std::string name, std::string what, std::vector<std::string>& warnings)
    : name_(std::move(name)), what_(std::move(what)) {
  // Non-blocking, so that a FIFO does not hold up the worker; regular files don't care.
  fd_ = ::open(name_.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  if (fd_ < 0)
    fail_system(what_, name_, "open", errno, "The operating system user of the database server must be able to read it.");
  try {
    if (::fstat(fd_, &status_) != 0) fail_system(what_, name_, "stat", errno, "Check the file system.");
    check_mode(status_, name_, what_, warnings);
  } catch (...) {
    ::close(fd_);
    throw;
  }
}

PrivateFile::~PrivateFile() { ::close(fd_); }

void PrivateFile::must_be_ours() const {
  if (status_.st_uid == ::geteuid() || status_.st_uid == 0) return;
  throw ConfigError(what_ + " " + quoted(name_) + " belongs to another user",
                    "Its owner must be root or the operating system user of the database server.");
}

std::string PrivateFile::read() const {
  std::string content;
  char block[4096];
  for (;;) {
    ssize_t got = ::read(fd_, block, sizeof block);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail_system(what_, name_, "read", errno, "Check the file system.");
    if (got == 0) return content;
    content.append(block, static_cast<std::size_t>(got));
    if (content.size() > kLongest)
      throw ConfigError(what_ + " " + quoted(name_) + " is longer than 1 MiB", "Is it the right file?");
  }
}

}  // namespace reconciler::http
