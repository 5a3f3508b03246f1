// Sessions' runtimes: real processes that outlive the agent, as pods do. The state directory is the cluster: any agent
// that shares it can stop any runtime in it.
//   <percent-encoded session id>.pid    the process, leader of its own process group
//   <percent-encoded session id>.owner  the agent that started it
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include <sys/types.h>

namespace testhub {

struct Runtime {
    std::string session;
    pid_t pid = 0;
    bool suspended = false;
};

class Runtimes {
public:
    // seconds: how long a runtime lives at most, 0 = for ever. Throws std::filesystem::filesystem_error.
    Runtimes(std::filesystem::path directory, std::string owner, int seconds, bool die_with_agent);

    // The running one, if there is one. Throws std::runtime_error.
    Runtime start(const std::string& session);
    std::optional<Runtime> find(const std::string& session) const;
    std::optional<Runtime> find_by_resource(const std::string& resource_id) const;
    void stop(const Runtime& runtime);
    void suspend(const Runtime& runtime);
    void resume(const Runtime& runtime);

    std::vector<Runtime> own() const;  // started by this agent id, in this life or an earlier one
    std::vector<Runtime> all() const;

    static std::string resource_id(const Runtime& runtime) { return "process-" + std::to_string(runtime.pid); }

private:
    static void signal(const Runtime& runtime, int number);
    std::filesystem::path file(const std::string& session, const char* extension) const;

    std::filesystem::path directory_;
    std::string owner_;
    int seconds_;
    bool die_with_agent_;
};

}  // namespace testhub
