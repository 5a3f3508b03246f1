// The credentials file: what may be shown to which origin. Re-read when it or a file it names changes.
#pragma once

#include <functional>
#include <map>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "http/client.hpp"

namespace reconciler::http {

// scheme://host:port, lower case, default port filled in, IP addresses in canonical form, IPv6 in brackets.
struct Origin {
  std::string scheme, host;
  int port = 0;
  std::string text() const;
  bool loopback() const;    // localhost, 127.0.0.0/8, ::1
  bool link_local() const;  // 169.254.0.0/16, fe80::/10, also IPv4-mapped
  auto operator<=>(const Origin&) const = default;
};

// What is wrong with a URL or a credentials file: a primary message and a hint, no secrets.
struct ConfigError : std::runtime_error {
  std::string hint;
  ConfigError(const std::string& message, std::string hint) : std::runtime_error(message), hint(std::move(hint)) {}
};

// A hub address: http or https, no user info, no query, no fragment, not link-local. Returns the origin and
// the path prefix without a trailing slash. Throws ConfigError; `what` names the thing in its message.
struct Address { Origin origin; std::string prefix; };
Address parse_address(const std::string& url, const std::string& what = "hub address");

struct Credential {
  std::string name;
  Origin origin;
  std::string token;  // '' = none (certificate only)
  Tls tls;
  bool allow_plaintext = false;
};

// A credential by the names of its files, for a program that is given these and no credentials file.
struct CredentialFiles {
  std::string name;
  Origin origin;
  std::string token_file;  // '' = none
  Tls tls;
  bool allow_plaintext = false;
};

// Shows the credential with a request, instead of whatever authorization stood there.
void authorize(Request&, const Credential&);

// File: a JSON array of {"name","origin","token_file","ca_file","cert_file","key_file","allow_plaintext"}; name
// and origin are required, a relative file name counts from the directory of the credentials file.
// Owner: this user or root. Mode: writable by group or others is an error, readable by others a warning; the
// same for the files it names. The names of files appear in messages, nothing they contain does.
class Credentials {
 public:
  explicit Credentials(std::string file);  // '' = no file: no credentials
  explicit Credentials(CredentialFiles);   // one credential; rules and rotation are the same
  // Re-reads if any file's inode, size, mtime or ctime (chmod) changed, or `force` (after a 401). Throws
  // ConfigError, and then no credential is left: a file that has become untrustworthy is not used any longer.
  void refresh(bool force = false);
  const Credential* find(const Origin&) const;
  const std::vector<std::string>& warnings() const;
  // Whether a hub (or what it is called) at this address may be talked to: an origin without a credential must be on
  // loopback, a token over plain http needs loopback or allow_plaintext. Throws ConfigError.
  void check(const Address&, const std::string& what = "hub") const;

 private:
  struct Stamp {
    std::int64_t inode = 0, size = 0, mtime_ns = 0, ctime_ns = 0;
    auto operator<=>(const Stamp&) const = default;
  };
  struct Reader;
  bool changed() const;

  std::string file_;
  std::optional<CredentialFiles> given_;  // instead of a file
  std::map<std::string, Stamp> stamps_;
  std::map<Origin, Credential> by_origin_;
  std::vector<std::string> warnings_;
};

}  // namespace reconciler::http
