// The file of session_reconciler.credentials_file: refused as a whole with a sentence that quotes nothing of it, or read.
#include <fcntl.h>
#include <unistd.h>

#include <cstdio>

#include "fuzz.hpp"
#include "http/credentials.hpp"

using namespace fuzz;
using namespace reconciler::http;

namespace {

// One file, in memory where there is such a place, written again for each input.
struct File {
  std::string name = std::string(access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp") + "/fuzz-credentials-XXXXXX";
  int fd = mkostemp(name.data(), O_CLOEXEC);
  ~File() { unlink(name.c_str()); }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const File file;
  if (ftruncate(file.fd, 0) != 0 || pwrite(file.fd, data, size, 0) != static_cast<ssize_t>(size)) std::abort();
  Credentials credentials(file.name);
  const Address elsewhere = parse_address("https://hub.example.com");
  try {
    credentials.refresh(true);
  } catch (const ConfigError& refused) {
    expect(*refused.what() != '\0' && !refused.hint.empty(), "a refusal says why, and what to do");
    expect(!credentials.find(elsewhere.origin), "of a file that is refused nothing is used");
    return 0;
  }
  if (const Credential* found = credentials.find(elsewhere.origin)) expect(found->origin == elsewhere.origin && !found->name.empty(), "a credential has a name and its own origin");
  return 0;
}
