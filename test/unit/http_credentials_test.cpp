// The credentials file: what it may look like, whom it lets us show a token to, and that no message shows one.
#include <gtest/gtest.h>

#include "http/credentials.hpp"
#include "support/temporary_directory.hpp"

namespace reconciler::http {
namespace {

using reconciler::testing::TemporaryDirectory;

class HttpCredentials : public ::testing::Test {
 protected:
  std::string entry(const std::string& origin, const std::string& more = "") const {
    return R"({"name":"hub","origin":")" + origin + "\"" + more + "}";
  }
  // The error of reading `content`; '' = none.
  std::string error_of(const std::string& content, mode_t mode = 0600) {
    Credentials credentials(directory.write("credentials.json", content, mode));
    return error_of(credentials);
  }
  std::string error_of(Credentials& credentials) {
    try {
      credentials.refresh();
    } catch (const ConfigError& error) {
      std::string all = std::string(error.what()) + " | " + error.hint;
      EXPECT_EQ(all.find("SECRET"), std::string::npos) << all;
      EXPECT_NE(error.hint, "");
      return error.what();
    }
    return "";
  }
  std::string check_of(const Credentials& credentials, const std::string& url) {
    try {
      credentials.check(parse_address(url));
    } catch (const ConfigError& error) {
      EXPECT_NE(error.hint, "");
      return error.what();
    }
    return "";
  }
  void expect_error(const std::string& content, const std::string& part) {
    std::string error = error_of(content);
    EXPECT_NE(error.find(part), std::string::npos) << content << " gave: " << error;
    EXPECT_NE(error.find(directory.path("credentials.json")), std::string::npos) << "names no file: " << error;
  }
  static std::string token_at(const Credentials& credentials, const std::string& origin) {
    const Credential* found = credentials.find(parse_address(origin).origin);
    return found == nullptr ? "none" : found->token;
  }

  TemporaryDirectory directory;
};

TEST_F(HttpCredentials, AreFoundByOrigin) {
  directory.write("a.token", "TOKEN-A\n");
  directory.write("b.token", "TOKEN-B\r\n");
  std::string file = directory.write("credentials.json", "[" + entry("https://Hub:8443", R"(,"token_file":"a.token")") + "," +
                                                             entry("https://hub", R"(,"token_file":"b.token")") + "]");
  Credentials credentials(file);
  credentials.refresh();
  EXPECT_EQ(token_at(credentials, "https://hub:8443/prefix"), "TOKEN-A");
  EXPECT_EQ(token_at(credentials, "https://hub"), "TOKEN-B");
  for (const char* other : {"http://hub:8443", "http://hub", "https://hub.evil:8443", "https://hub:8444"})
    EXPECT_EQ(token_at(credentials, other), "none") << other;
  EXPECT_TRUE(credentials.warnings().empty());
}

TEST_F(HttpCredentials, NoFileIsNoCredential) {
  Credentials credentials("");
  credentials.refresh();
  EXPECT_EQ(token_at(credentials, "http://127.0.0.1"), "none");
  EXPECT_EQ(check_of(credentials, "http://127.0.0.1:8080"), "");
  EXPECT_EQ(check_of(credentials, "http://[::1]:8080"), "");
  EXPECT_NE(check_of(credentials, "https://hub"), "") << "a hub without a credential must be on loopback";
  EXPECT_NE(check_of(credentials, "http://10.0.0.1"), "");
}

TEST_F(HttpCredentials, ATokenDoesNotTravelInTheClear) {
  directory.write("t", "SECRET");
  std::string token = R"(,"token_file":"t")";
  Credentials credentials(directory.write(
      "credentials.json", "[" + entry("http://hub", token) + "," + entry("https://hub", token) + "," +
                              entry("http://trusted", token + R"(,"allow_plaintext":true)") + "," +
                              entry("http://127.0.0.1:9", token) + "," + entry("http://anonymous") + "]"));
  credentials.refresh();
  EXPECT_NE(check_of(credentials, "http://hub").find("would travel to http://hub:80 unencrypted"), std::string::npos);
  EXPECT_EQ(check_of(credentials, "https://hub"), "");
  EXPECT_EQ(check_of(credentials, "http://trusted"), "");
  EXPECT_EQ(check_of(credentials, "http://127.0.0.1:9"), "");
  EXPECT_EQ(check_of(credentials, "http://anonymous"), "");
}

TEST_F(HttpCredentials, ModesOfTheFile) {
  for (mode_t mode : {0600, 0640, 0400, 0440}) EXPECT_EQ(error_of("[]", mode), "") << std::oct << mode;
  for (mode_t mode : {0660, 0620, 0602, 0666, 0622}) {
    std::string error = error_of("[]", mode);
    EXPECT_NE(error.find("can be written by its group or by others"), std::string::npos) << std::oct << mode << error;
  }
  Credentials credentials(directory.write("credentials.json", "[]", 0644));
  credentials.refresh();
  ASSERT_EQ(credentials.warnings().size(), 1u);
  EXPECT_NE(credentials.warnings()[0].find("can be read by every user"), std::string::npos);
}

TEST_F(HttpCredentials, ModesOfTheFilesItNames) {
  for (const char* member : {"token_file", "key_file", "ca_file", "cert_file"}) {
    directory.write("t", "SECRET", 0660);
    std::string more = ",\"" + std::string(member) + "\":\"t\"";
    if (std::string(member) == "key_file") more += R"(,"cert_file":"c")";
    directory.write("c", "certificate");
    EXPECT_NE(error_of("[" + entry("https://hub", more) + "]").find("can be written"), std::string::npos) << member;
  }
  directory.write("t", "SECRET", 0644);
  Credentials credentials(directory.write("credentials.json", "[" + entry("https://hub", R"(,"token_file":"t")") + "]"));
  credentials.refresh();
  EXPECT_EQ(credentials.warnings().size(), 1u);
}

TEST_F(HttpCredentials, MayNotBelongToAStranger) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root can give a file away";
  std::string file = directory.write("credentials.json", "[]");
  ASSERT_EQ(::chown(file.c_str(), 12345, 12345), 0);
  Credentials credentials(file);
  EXPECT_NE(error_of(credentials).find("belongs to another user"), std::string::npos);
}

TEST_F(HttpCredentials, BadContent) {
  expect_error("", "is not valid JSON at line 1");
  expect_error("[\n{\n\"token\": SECRET", "is not valid JSON at line 3");
  expect_error("[] SECRET", "is not valid JSON");
  expect_error("[1e999]", "holds a number that is out of range");
  expect_error("{}", "does not hold a JSON array");
  expect_error("\"SECRET\"", "does not hold a JSON array");
  expect_error("[[]]", "entry 1 is not an object");
  expect_error("[{}]", "entry 1 has no name");
  expect_error(R"([{"name":"hub"}])", "entry 1 has no origin");
  expect_error(R"([{"name":7,"origin":"https://hub"}])", "a name that is not a string");
  expect_error("[" + entry("https://hub", R"(,"allow_plaintext":"yes")") + "]", "an allow_plaintext that is neither");
  expect_error("[" + entry("https://hub/path") + "]", "an origin with a path");
  expect_error("[" + entry("https://u:SECRET@hub") + "]", "must not contain a user name or password");
  expect_error("[" + entry("hub") + "]", "is not an http or https URL");
  expect_error("[" + entry("https://hub", R"(,"key_file":"credentials.json")") + "]", "has a key_file but no cert_file");
  expect_error("[" + entry("https://hub") + "," + entry("HTTPS://HUB:443/") + "]", "entry 2 repeats the origin \"https://hub:443\"");
}

TEST_F(HttpCredentials, AnUnknownMemberNamesTheValidOnes) {
  Credentials credentials(directory.write("credentials.json", "[" + entry("https://hub", R"(,"token-file":"x")") + "]"));
  try {
    credentials.refresh();
    FAIL();
  } catch (const ConfigError& error) {
    EXPECT_NE(std::string(error.what()).find("unknown member \"token-file\""), std::string::npos) << error.what();
    for (const char* member : {"name", "origin", "token_file", "ca_file", "cert_file", "key_file", "allow_plaintext"})
      EXPECT_NE(error.hint.find(member), std::string::npos) << member;
  }
  expect_error("[" + entry("https://hub", R"(,"SECRET123":"x")") + "]", "has an unknown member");
}

TEST_F(HttpCredentials, BadTokens) {
  std::string content = "[" + entry("https://hub", R"(,"token_file":"t")") + "]";
  for (const char* token : {"", "\n", "\r\n\n"}) {
    directory.write("t", token);
    EXPECT_NE(error_of(content).find("is empty"), std::string::npos);
  }
  for (const char* token : {"SECRET\nX-Evil: 1", "SEC\rRET", "SECRET SECRET", "\tSECRET", "SECRET\x7f", "S\xc3\xa4SECRET"}) {
    directory.write("t", token);
    EXPECT_NE(error_of(content).find("holds something that is not a token"), std::string::npos) << token;
  }
  directory.write("t", std::string("SECRET\0SECRET", 13));
  EXPECT_NE(error_of(content).find("not a token"), std::string::npos);
  directory.write("t", std::string(2 << 20, 'x'));
  EXPECT_NE(error_of(content).find("longer than 1 MiB"), std::string::npos);
}

TEST_F(HttpCredentials, MissingFilesAreNamed) {
  Credentials credentials(directory.path("nowhere.json"));
  std::string error = error_of(credentials);
  EXPECT_NE(error.find(directory.path("nowhere.json")), std::string::npos) << error;
  EXPECT_NE(error.find("No such file"), std::string::npos) << error;
  error = error_of("[" + entry("https://hub", R"(,"token_file":"gone.token")") + "]");
  EXPECT_NE(error.find(directory.path("gone.token")), std::string::npos) << error;
  error = error_of("[" + entry("https://hub", R"(,"ca_file":"/nowhere/ca.pem")") + "]");
  EXPECT_NE(error.find("/nowhere/ca.pem"), std::string::npos) << error;
}

TEST_F(HttpCredentials, OddFilesAreRefused) {
  ASSERT_EQ(::mkfifo(directory.path("fifo").c_str(), 0600), 0);
  Credentials fifo(directory.path("fifo"));
  EXPECT_NE(error_of(fifo).find("is not a regular file"), std::string::npos) << "and does not wait for a writer";
  Credentials itself(directory.path(""));
  EXPECT_NE(error_of(itself).find("is not a regular file"), std::string::npos);
}

TEST_F(HttpCredentials, AreReadAgainWhenAFileChanges) {
  directory.write("t", "ONE");
  Credentials credentials(directory.write("credentials.json", "[" + entry("https://hub", R"(,"token_file":"t")") + "]"));
  credentials.refresh();
  EXPECT_EQ(token_at(credentials, "https://hub"), "ONE");
  directory.write("t", "TWO");
  EXPECT_EQ(token_at(credentials, "https://hub"), "ONE");
  credentials.refresh();
  EXPECT_EQ(token_at(credentials, "https://hub"), "TWO");
  directory.write("credentials.json", "[]");
  credentials.refresh();
  EXPECT_EQ(token_at(credentials, "https://hub"), "none");
}

TEST_F(HttpCredentials, AFileThatGoesBadIsUsedNoLonger) {
  std::string token = directory.write("t", "ONE");
  Credentials credentials(directory.write("credentials.json", "[" + entry("https://hub", R"(,"token_file":"t")") + "]"));
  credentials.refresh();
  ::chmod(token.c_str(), 0666);
  EXPECT_NE(error_of(credentials).find("can be written"), std::string::npos) << "chmod alone is noticed";
  EXPECT_EQ(token_at(credentials, "https://hub"), "none");
  EXPECT_NE(error_of(credentials), "") << "as long as it is bad";
  ::chmod(token.c_str(), 0600);
  EXPECT_EQ(error_of(credentials), "");
  EXPECT_EQ(token_at(credentials, "https://hub"), "ONE");
  ::unlink(token.c_str());
  EXPECT_NE(error_of(credentials).find("No such file"), std::string::npos);
}

// As the files of a service account are: links to what is exchanged as a whole.
TEST_F(HttpCredentials, FilesWithoutACredentialsFile) {
  directory.write("token.1", "ONE\n");
  directory.write("token.2", "TWO\n");
  const std::string link = directory.path("token");
  ASSERT_EQ(::symlink("token.1", link.c_str()), 0);
  Credentials credentials(CredentialFiles{"cluster", parse_address("https://10.0.0.1").origin, link, {directory.write("ca.crt", "CA"), "", ""}});
  credentials.refresh();
  EXPECT_EQ(token_at(credentials, "https://10.0.0.1"), "ONE");
  EXPECT_EQ(token_at(credentials, "https://10.0.0.2"), "none") << "its own origin only";
  EXPECT_EQ(credentials.find(parse_address("https://10.0.0.1").origin)->tls.ca_file, directory.path("ca.crt"));
  ::unlink(link.c_str());
  ASSERT_EQ(::symlink("token.2", link.c_str()), 0);
  credentials.refresh();
  EXPECT_EQ(token_at(credentials, "https://10.0.0.1"), "TWO");
  ::unlink(link.c_str());
  EXPECT_EQ(error_of(credentials), "could not open token file of credential \"cluster\" \"" + link + "\": No such file or directory");
  EXPECT_EQ(token_at(credentials, "https://10.0.0.1"), "none");
}

}  // namespace
}  // namespace reconciler::http
