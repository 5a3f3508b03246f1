// IP addresses, as far as the rules about whom we talk to need them.
#pragma once

#include <optional>
#include <string>

struct sockaddr;

namespace reconciler::http {

// The canonical text of an address literal, IPv6 in brackets: "0x7f.1" is "127.0.0.1". Empty for a name.
// Everything that getaddrinfo() would take for a number counts, so that no spelling slips past a check.
std::optional<std::string> canonical_ip(const std::string& host);

// Of canonical texts.
bool is_loopback(const std::string& ip);    // 127.0.0.0/8, ::1
bool is_link_local(const std::string& ip);  // 169.254.0.0/16, fe80::/10, also the first in an IPv6 address

// What a name resolved to: an IP address, and not a link-local one. There live the metadata services of
// clouds, which hand out credentials to whoever asks from this machine.
bool may_connect(const sockaddr&);

}  // namespace reconciler::http
