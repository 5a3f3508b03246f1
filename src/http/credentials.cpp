#include "http/credentials.hpp"

#include <strings.h>

#include <algorithm>
#include <string_view>

#include "core/json.hpp"
#include "http/private_file.hpp"

namespace reconciler::http {
namespace {

using nlohmann::json;

constexpr std::string_view kMembers[] = {"name",      "origin",   "token_file",     "ca_file",
                                         "cert_file", "key_file", "allow_plaintext"};
const char* const kMemberHint =
    "Valid members are name, origin, token_file, ca_file, cert_file, key_file and allow_plaintext.";
const char* const kShape =
    "It is a JSON array of objects like {\"name\": \"hub\", \"origin\": \"https://hub:8443\", \"token_file\": "
    "\"/etc/hub.token\"}.";

// A misspelled member is worth showing; something that could be a misplaced secret is not.
bool looks_like_a_member(const std::string& name) {
  return name.size() <= 32 &&
         std::all_of(name.begin(), name.end(), [](char c) { return (c >= 'a' && c <= 'z') || c == '_' || c == '-'; });
}

std::string trimmed_token(std::string token, const std::string& what, const std::string& file) {
  while (!token.empty() && (token.back() == '\n' || token.back() == '\r')) token.pop_back();
  if (token.empty()) throw ConfigError(what + " \"" + file + "\" is empty", "Write the token into it, on one line.");
  if (!std::all_of(token.begin(), token.end(), [](unsigned char c) { return c > 0x20 && c < 0x7f; }))
    throw ConfigError(what + " \"" + file + "\" holds something that is not a token",
                      "It must hold the bare token on one line: no spaces, no further lines, no control characters.");
  return token;
}

}  // namespace

// Reads the file into maps of its own, which replace the old ones only when all of it is right.
struct Credentials::Reader {
  std::string file, directory;
  std::map<std::string, Stamp> stamps;
  std::map<Origin, Credential> by_origin;
  std::vector<std::string> warnings;

  static Stamp stamp_of(const struct stat& status) {
    auto ns = [](const timespec& at) { return static_cast<std::int64_t>(at.tv_sec) * 1'000'000'000 + at.tv_nsec; };
    return {static_cast<std::int64_t>(status.st_ino), static_cast<std::int64_t>(status.st_size), ns(status.st_mtim),
            ns(status.st_ctim)};
  }

  explicit Reader(const CredentialFiles& given) { by_origin.emplace(given.origin, open_files(given)); }

  explicit Reader(const std::string& name) : file(name) {
    std::size_t slash = file.rfind('/');
    directory = slash == std::string::npos ? "" : file.substr(0, slash + 1);
    read_entries(parse());
  }

  json parse() {
    PrivateFile opened(file, "credentials file", warnings);
    opened.must_be_ours();
    stamps[file] = stamp_of(opened.status());
    std::string text = opened.read();
    try {
      return json::parse(text);
    } catch (const json::parse_error& error) {
      // Not error.what(): it quotes what it read.
      std::size_t upto = std::min(error.byte, text.size());
      auto line = 1 + std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(upto), '\n');
      throw ConfigError("credentials file \"" + file + "\" is not valid JSON at line " + std::to_string(line), kShape);
    } catch (const json::out_of_range&) {
      throw ConfigError("credentials file \"" + file + "\" holds a number that is out of range", kShape);
    }
  }

  [[noreturn]] void fail(const std::string& entry, const std::string& wrong, const std::string& hint) const {
    throw ConfigError("credentials file \"" + file + "\": " + entry + " " + wrong, hint);
  }

  void read_entries(const json& root) {
    if (!root.is_array()) throw ConfigError("credentials file \"" + file + "\" does not hold a JSON array", kShape);
    std::size_t position = 0;
    for (const json& item : root) {
      Credential credential = read_entry(item, "entry " + std::to_string(++position));
      auto [at, fresh] = by_origin.emplace(credential.origin, credential);
      if (!fresh)
        fail("entry " + std::to_string(position), "repeats the origin \"" + credential.origin.text() + "\"",
             "Each origin may have one credential.");
    }
  }

  Credential read_entry(const json& item, const std::string& entry) {
    if (!item.is_object()) fail(entry, "is not an object", kShape);
    for (const auto& member : item.items())
      if (std::find(std::begin(kMembers), std::end(kMembers), member.key()) == std::end(kMembers))
        fail(entry, "has an unknown member" + (looks_like_a_member(member.key()) ? " \"" + member.key() + "\"" : ""),
             kMemberHint);

    CredentialFiles named;
    named.name = text(item, "name", entry);
    if (named.name.empty()) fail(entry, "has no name", kShape);
    std::string origin = text(item, "origin", entry);
    if (origin.empty()) fail(entry, "has no origin", kShape);
    named.origin = read_origin(origin, entry);
    named.allow_plaintext = flag(item, "allow_plaintext", entry);
    named.token_file = path(item, "token_file", entry);
    named.tls.ca_file = path(item, "ca_file", entry);
    named.tls.cert_file = path(item, "cert_file", entry);
    named.tls.key_file = path(item, "key_file", entry);
    Credential credential = open_files(named);
    if (!credential.tls.key_file.empty() && credential.tls.cert_file.empty())
      fail(entry, "has a key_file but no cert_file", "A client certificate needs both, or one file with both as cert_file.");
    return credential;
  }

  Credential open_files(const CredentialFiles& named) {
    Credential credential{named.name, named.origin, {}, {}, named.allow_plaintext};
    std::string label = " of credential \"" + named.name + "\"";
    if (const std::string& token = named.token_file; !token.empty()) {
      PrivateFile opened(token, "token file" + label, warnings);
      stamps[token] = stamp_of(opened.status());
      credential.token = trimmed_token(opened.read(), "token file" + label, token);
    }
    credential.tls.ca_file = checked(named.tls.ca_file, "CA file" + label);
    credential.tls.cert_file = checked(named.tls.cert_file, "certificate file" + label);
    credential.tls.key_file = checked(named.tls.key_file, "key file" + label);
    return credential;
  }

  Origin read_origin(const std::string& origin, const std::string& entry) const {
    Address address = parse_address(origin, "credentials file \"" + file + "\": origin of " + entry);
    if (!address.prefix.empty())
      fail(entry, "has an origin with a path", "An origin is only scheme, host and port: \"" + address.origin.text() + "\".");
    return address.origin;
  }

  // libcurl reads these by name; opened here to see that it can, and to notice when they change. Certificates
  // are public, so that everybody may read them; a key must be as private as a token.
  std::string checked(std::string name, const std::string& what) {
    if (name.empty()) return name;
    std::vector<std::string> of_public_files;
    bool secret = what.compare(0, 3, "key") == 0;
    PrivateFile opened(name, what, secret ? warnings : of_public_files);
    stamps[name] = stamp_of(opened.status());
    return name;
  }

  std::string text(const json& item, const char* member, const std::string& entry) const {
    auto found = item.find(member);
    if (found == item.end() || found->is_null()) return {};
    if (!found->is_string()) fail(entry, "has a " + std::string(member) + " that is not a string", kShape);
    std::string value = found->get<std::string>();
    if (value.find('\0') != std::string::npos) fail(entry, "has a zero byte in its " + std::string(member), kShape);
    return value;
  }

  std::string path(const json& item, const char* member, const std::string& entry) const {
    std::string name = text(item, member, entry);
    return name.empty() || name.front() == '/' ? name : directory + name;
  }

  bool flag(const json& item, const char* member, const std::string& entry) const {
    auto found = item.find(member);
    if (found == item.end() || found->is_null()) return false;
    if (!found->is_boolean()) fail(entry, "has an " + std::string(member) + " that is neither true nor false", kShape);
    return found->get<bool>();
  }
};

void authorize(Request& request, const Credential& credential) {
  request.tls = credential.tls;
  if (credential.token.empty()) return;
  auto is_authorization = [](const auto& header) { return ::strcasecmp(header.first.c_str(), "authorization") == 0; };
  auto& headers = request.headers;
  headers.erase(std::remove_if(headers.begin(), headers.end(), is_authorization), headers.end());
  headers.emplace_back("Authorization", "Bearer " + credential.token);
}

Credentials::Credentials(std::string file) : file_(std::move(file)) {}
Credentials::Credentials(CredentialFiles given) : given_(std::move(given)) {}

void Credentials::refresh(bool force) {
  if ((file_.empty() && !given_) || (!force && !changed())) return;
  stamps_.clear();
  by_origin_.clear();
  warnings_.clear();
  Reader fresh = given_ ? Reader(*given_) : Reader(file_);
  stamps_ = std::move(fresh.stamps);
  by_origin_ = std::move(fresh.by_origin);
  warnings_ = std::move(fresh.warnings);
}

bool Credentials::changed() const {
  if (stamps_.empty()) return true;
  return std::any_of(stamps_.begin(), stamps_.end(), [](const auto& known) {
    struct stat now;
    return ::stat(known.first.c_str(), &now) != 0 || Reader::stamp_of(now) != known.second;
  });
}

const Credential* Credentials::find(const Origin& origin) const {
  auto found = by_origin_.find(origin);
  return found == by_origin_.end() ? nullptr : &found->second;
}

const std::vector<std::string>& Credentials::warnings() const { return warnings_; }

void Credentials::check(const Address& address, const std::string& what) const {
  const Origin& origin = address.origin;
  if (origin.loopback()) return;
  const Credential* credential = find(origin);
  if (credential == nullptr)
    throw ConfigError("there is no credential for " + what + " " + origin.text(),
                      "Add an entry with this origin to the file of session_reconciler.credentials_file; only a " + what +
                          " on loopback may go without.");
  if (!credential->token.empty() && origin.scheme == "http" && !credential->allow_plaintext)
    throw ConfigError("the token of credential \"" + credential->name + "\" would travel to " + origin.text() +
                          " unencrypted",
                      "Use https, or set allow_plaintext to true in its entry where the network is trusted.");
}

}  // namespace reconciler::http
