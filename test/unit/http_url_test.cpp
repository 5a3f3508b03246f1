// Hub addresses: every spelling of an address ends in one canonical origin, or in an error that shows no secret.
#include <gtest/gtest.h>

#include "http/credentials.hpp"

namespace reconciler::http {
namespace {

TEST(HubAddress, HasOneCanonicalForm) {
  struct { const char* url; const char* origin; const char* prefix; } const cases[] = {
      {"http://hub", "http://hub:80", ""},
      {"https://hub", "https://hub:443", ""},
      {"HTTPS://Hub.Example.COM:8443/", "https://hub.example.com:8443", ""},
      {"http://hub:80/api/v1/", "http://hub:80", "/api/v1"},
      {"http://hub//", "http://hub:80", ""},
      {"http://hub_1.internal-net", "http://hub_1.internal-net:80", ""},
      {"http://127.0.0.1:8080", "http://127.0.0.1:8080", ""},
      {"http://127.1", "http://127.0.0.1:80", ""},
      {"http://2130706433", "http://127.0.0.1:80", ""},
      {"http://0x7f.0.0.1", "http://127.0.0.1:80", ""},
      {"http://0177.0.0.01", "http://127.0.0.1:80", ""},
      {"http://[::1]:9", "http://[::1]:9", ""},
      {"http://[0:0:0:0:0:0:0:1]", "http://[::1]:80", ""},
      {"http://[2001:DB8::A]/x", "http://[2001:db8::a]:80", "/x"},
  };
  for (const auto& one : cases) {
    Address address = parse_address(one.url);
    EXPECT_EQ(address.origin.text(), one.origin) << one.url;
    EXPECT_EQ(address.prefix, one.prefix) << one.url;
  }
}

TEST(HubAddress, RefusesEverythingElse) {
  struct { const char* url; const char* because; } const cases[] = {
      {"", "not an http or https URL"},
      {"hub", "not an http or https URL"},
      {"hub:8080", "not an http or https URL"},
      {"//hub", "not an http or https URL"},
      {"http:/hub", "not an http or https URL"},
      {"http:hub", "not an http or https URL"},
      {"file:///etc/passwd", "not an http or https URL"},
      {"ftp://hub", "not an http or https URL"},
      {"unix:///run/hub.sock", "not an http or https URL"},
      {"ws://hub", "not an http or https URL"},
      {"gopher://hub:70/_x", "not an http or https URL"},
      {"dict://hub:2628/d", "not an http or https URL"},
      {"http+unix://%2Frun%2Fhub.sock/", "not an http or https URL"},
      {"unix:@hub", "not an http or https URL"},
      {"http://", "names no host"},
      {"http:///hub", "names no host"},
      {"http://?x", "names no host"},
      {"http://hub?x=1", "must not have a query"},
      {"http://hub/?", "must not have a query"},
      {"http://hub/#top", "must not have a fragment"},
      {"http://hub#", "must not have a fragment"},
      {"http://hub:0", "a port that is not between"},
      {"http://hub:65536", "a port that is not between"},
      {"http://hub:99999999999", "a port that is not between"},
      {"http://hub:x", "a port that is not between"},
      {"http://hub:-1", "a port that is not between"},
      {" http://hub", "a character that no URL may have"},
      {"http://hub ", "a character that no URL may have"},
      {"http://hub\n", "a character that no URL may have"},
      {"http://hub/a b", "a character that no URL may have"},
      {"http:\\\\hub", "a character that no URL may have"},
      {"http://hub\\@evil", "a character that no URL may have"},
      {"http://h\xc3\xbc" "b", "a character that no URL may have"},
      {"http://%31%32%37.0.0.1", "a percent sign in its host"},
      {"http://[fe80::1%25eth0]", "a percent sign in its host"},
      {"http://[::1", ""},
      {"http://[zz]", ""},
      {"http://hu(b", ""},
  };
  for (const auto& one : cases) {
    try {
      parse_address(one.url);
      ADD_FAILURE() << one.url << " was accepted";
    } catch (const ConfigError& error) {
      EXPECT_NE(std::string(error.what()).find(one.because), std::string::npos) << one.url << ": " << error.what();
      EXPECT_NE(error.hint, "") << one.url;
    }
  }
}

TEST(HubAddress, RefusesLinkLocalInEverySpelling) {
  for (const char* url : {"http://169.254.169.254", "http://169.254.0.1:8080", "http://0xa9fea9fe", "http://2852039166",
                          "http://0XA9.0xFE.0251.0376", "http://0251.0376.0251.0376", "http://0251.254.43518", "http://169.16689662",
                          "http://[fe80::1]", "http://[febf::1]", "http://[::ffff:169.254.169.254]",
                          "http://[::ffff:a9fe:a9fe]", "http://[::169.254.169.254]", "http://[64:ff9b::169.254.169.254]",
                          "http://[2002:a9fe:a9fe::1]"}) {
    try {
      parse_address(url);
      ADD_FAILURE() << url << " was accepted";
    } catch (const ConfigError& error) {
      EXPECT_NE(std::string(error.what()).find("is link-local"), std::string::npos) << url << ": " << error.what();
    }
  }
}

TEST(HubAddress, ErrorsShowNoSecret) {
  for (const char* url : {"http://user:hunter2@hub", "http://hunter2@hub", "http://:hunter2@hub/x", "http://user:hun/ter2@hub",
                          "http://user:hunter2?@hub", "http://us er:hunter2@hub", "http://hub?token=hunter2",
                          "http://user:hunter2@", "file://user:hunter2@x", "http://hub/x#hunter2"}) {
    try {
      parse_address(url);
      ADD_FAILURE() << url << " was accepted";
    } catch (const ConfigError& error) {
      std::string all = std::string(error.what()) + error.hint;
      EXPECT_EQ(all.find("hunter2"), std::string::npos) << all;
      EXPECT_EQ(all.find("hun/ter2"), std::string::npos) << all;
    }
  }
}

TEST(HubAddress, PasswordsBelongIntoTheCredentialsFile) {
  try {
    parse_address("https://admin:hunter2@hub.example.com");
    FAIL();
  } catch (const ConfigError& error) {
    EXPECT_STREQ(error.what(), "hub address must not contain a user name or password");
    EXPECT_NE(error.hint.find("credentials_file"), std::string::npos);
  }
}

TEST(HubAddress, LoopbackIsJudgedAfterNormalisation) {
  for (const char* url : {"http://localhost", "http://LOCALHOST:1", "http://127.0.0.1", "http://127.255.0.3",
                          "http://2130706433", "http://[::1]"})
    EXPECT_TRUE(parse_address(url).origin.loopback()) << url;
  for (const char* url : {"http://localhost.example.com", "http://128.0.0.1", "http://127.0.0.1.example.com",
                          "http://[::2]", "http://[::]", "http://[::127.0.0.1]", "http://0", "http://0.0.0.0", "http://10.0.0.1"})
    EXPECT_FALSE(parse_address(url).origin.loopback()) << url;
}

}  // namespace
}  // namespace reconciler::http
