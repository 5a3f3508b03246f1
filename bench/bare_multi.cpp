// The baseline of the retry benchmark: a plain libcurl-multi loop that POSTs N commands, one to each agent, K at a
// time over kept connections, and reads the answers. Prints commands per second.
//
//   bare_multi http://host:port N K
#include <curl/curl.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

namespace {
size_t drop(char*, size_t size, size_t n, void*) { return size * n; }

struct Slot {
  CURL* easy = curl_easy_init();
  curl_slist* headers = nullptr;
  std::string url, body;
};

void prepare(Slot& slot, const std::string& base, long n) {
  const std::string id = std::to_string(n);
  slot.url = base + "/v1/agents/agent-" + id + "/commands";
  slot.body = "{\"command_id\":\"bare-" + id + "\",\"action\":\"stop_session\",\"session_id\":\"b-" + id + "\",\"platform_resource_id\":\"\",\"attempt\":1,\"reason\":\"stuck in terminating\"}";
  curl_slist_free_all(slot.headers);
  slot.headers = curl_slist_append(nullptr, "Content-Type: application/json");
  slot.headers = curl_slist_append(slot.headers, ("Idempotency-Key: bare-" + id).c_str());
  curl_easy_setopt(slot.easy, CURLOPT_URL, slot.url.c_str());
  curl_easy_setopt(slot.easy, CURLOPT_HTTPHEADER, slot.headers);
  curl_easy_setopt(slot.easy, CURLOPT_POSTFIELDS, slot.body.c_str());
  curl_easy_setopt(slot.easy, CURLOPT_WRITEFUNCTION, drop);
  curl_easy_setopt(slot.easy, CURLOPT_PROXY, "");
  curl_easy_setopt(slot.easy, CURLOPT_PRIVATE, &slot);
}
}  // namespace

int main(int argc, char** argv) {
  if (argc != 4) return 2;
  const std::string base = argv[1];
  const long total = std::atol(argv[2]), width = std::atol(argv[3]);
  // The hub needs its agents first.
  CURL* control = curl_easy_init();
  const std::string fleet = "{\"count\": " + std::to_string(total) + ", \"prefix\": \"agent-\", \"status\": \"connected\"}", url = base + "/control/fake_agents";
  curl_easy_setopt(control, CURLOPT_URL, url.c_str());
  curl_easy_setopt(control, CURLOPT_POSTFIELDS, fleet.c_str());
  curl_easy_setopt(control, CURLOPT_WRITEFUNCTION, drop);
  if (curl_easy_perform(control) != CURLE_OK) return 1;

  CURLM* multi = curl_multi_init();
  curl_multi_setopt(multi, CURLMOPT_MAX_TOTAL_CONNECTIONS, width);
  curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, width);
  std::vector<Slot> slots(static_cast<std::size_t>(width));
  const auto start = std::chrono::steady_clock::now();
  long next = 1, done = 0, bad = 0;
  for (Slot& slot : slots)
    if (next <= total) prepare(slot, base, next++), curl_multi_add_handle(multi, slot.easy);
  while (done < total) {
    int running = 0, left = 0;
    curl_multi_perform(multi, &running);
    while (CURLMsg* message = curl_multi_info_read(multi, &left)) {
      if (message->msg != CURLMSG_DONE) continue;
      CURL* easy = message->easy_handle;
      long status = 0;
      curl_easy_getinfo(easy, CURLINFO_RESPONSE_CODE, &status);
      bad += status != 202;
      Slot* slot = nullptr;
      curl_easy_getinfo(easy, CURLINFO_PRIVATE, &slot);
      curl_multi_remove_handle(multi, easy);
      ++done;
      if (next <= total) prepare(*slot, base, next++), curl_multi_add_handle(multi, easy);
    }
    if (done < total) curl_multi_poll(multi, nullptr, 0, 100, nullptr);
  }
  const double took = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  if (bad) std::fprintf(stderr, "%ld commands were not accepted\n", bad);
  std::printf("%.0f\n", static_cast<double>(total) / took);
  return bad ? 1 : 0;
}
