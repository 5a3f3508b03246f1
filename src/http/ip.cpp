#include "http/ip.hpp"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cstring>

namespace reconciler::http {
namespace {

bool link_local(const in_addr& address) { return (ntohl(address.s_addr) >> 16) == 0xA9FE; }

// Also one that carries an IPv4 address: to where a gateway, or the system itself, passes it on.
bool link_local(const in6_addr& address) {
  if (IN6_IS_ADDR_LINKLOCAL(&address)) return true;
  constexpr unsigned char nat64[12] = {0x00, 0x64, 0xff, 0x9b}, six_to_four[2] = {0x20, 0x02};
  const unsigned char* carried = nullptr;
  if (IN6_IS_ADDR_V4MAPPED(&address) || IN6_IS_ADDR_V4COMPAT(&address) || std::memcmp(address.s6_addr, nat64, sizeof nat64) == 0) carried = address.s6_addr + 12;
  if (std::memcmp(address.s6_addr, six_to_four, sizeof six_to_four) == 0) carried = address.s6_addr + 2;
  if (!carried) return false;
  in_addr four;
  std::memcpy(&four, carried, sizeof four);
  return link_local(four);
}

bool bracketed(const std::string& host) { return host.size() > 2 && host.front() == '[' && host.back() == ']'; }

std::optional<in6_addr> ipv6(const std::string& host) {
  in6_addr address;
  if (!bracketed(host) || inet_pton(AF_INET6, host.substr(1, host.size() - 2).c_str(), &address) != 1) return {};
  return address;
}

// inet_aton takes decimal, octal and hexadecimal numbers in one to four parts, as getaddrinfo does.
std::optional<in_addr> ipv4(const std::string& host) {
  in_addr address;
  if (host.empty() || inet_aton(host.c_str(), &address) == 0) return {};
  return address;
}

}  // namespace

std::optional<std::string> canonical_ip(const std::string& host) {
  char text[INET6_ADDRSTRLEN];
  if (auto six = ipv6(host)) return "[" + std::string(inet_ntop(AF_INET6, &*six, text, sizeof text)) + "]";
  if (auto four = ipv4(host)) return std::string(inet_ntop(AF_INET, &*four, text, sizeof text));
  return {};
}

bool is_loopback(const std::string& ip) {
  if (auto six = ipv6(ip)) return IN6_IS_ADDR_LOOPBACK(&*six);
  if (auto four = ipv4(ip)) return (ntohl(four->s_addr) >> 24) == 127;
  return false;
}

bool is_link_local(const std::string& ip) {
  if (auto six = ipv6(ip)) return link_local(*six);
  if (auto four = ipv4(ip)) return link_local(*four);
  return false;
}

bool may_connect(const sockaddr& address) {
  // Copied out: the bytes behind a sockaddr need not be aligned for the larger type.
  if (address.sa_family == AF_INET) {
    sockaddr_in four;
    std::memcpy(&four, &address, sizeof four);
    return !link_local(four.sin_addr);
  }
  if (address.sa_family == AF_INET6) {
    sockaddr_in6 six;
    std::memcpy(&six, &address, sizeof six);
    return !link_local(six.sin6_addr);
  }
  return false;
}

}  // namespace reconciler::http
