#include "runtimes.hpp"

#include "../common/text.hpp"

#include <csignal>
#include <cstdlib>
#include <fcntl.h>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <sys/prctl.h>
#include <thread>
#include <unistd.h>

namespace testhub {

namespace fs = std::filesystem;

namespace {

constexpr const char* process_name = "session-runtime:";

std::string read_file(const fs::path& path)
{
    std::ifstream in(path, std::ios::binary);
    std::ostringstream out;
    out << in.rdbuf();
    return out.str();
}

// Written aside and renamed: another agent may look at any moment.
void write_file(const fs::path& path, const std::string& text)
{
    const fs::path draft = path.string() + ".tmp" + std::to_string(getpid());
    std::ofstream(draft) << text << '\n';
    fs::rename(draft, path);
}

// Z for a process that has ended but was not yet waited for, 0 for none, T for a stopped one.
char process_state(pid_t pid)
{
    const std::string stat = read_file("/proc/" + std::to_string(pid) + "/stat");
    const auto end_of_name = stat.rfind(") ");
    return end_of_name == std::string::npos ? '\0' : stat[end_of_name + 2];
}

// A pid may have been given to another process since: the name tells.
bool is_runtime_of(pid_t pid, const std::string& session)
{
    const char state = process_state(pid);
    if (state == '\0' || state == 'Z' || state == 'X') return false;
    const std::string command = read_file("/proc/" + std::to_string(pid) + "/cmdline");
    return command.c_str() == process_name + session;
}

[[noreturn]] void become_runtime(const std::string& name, const std::string& seconds, bool die_with_agent)
{
    setsid();
    if (die_with_agent) prctl(PR_SET_PDEATHSIG, SIGKILL);
    std::signal(SIGCHLD, SIG_DFL);
    // Nothing of the agent may live on in the runtime, least of all its connection to the hub.
    const int nowhere = open("/dev/null", O_RDWR);
    for (int fd = 0; fd < 3; ++fd) dup2(nowhere, fd);
    for (int fd = 3; fd < 1024; ++fd) close(fd);
    execlp("sleep", name.c_str(), seconds.c_str(), static_cast<char*>(nullptr));
    _exit(127);
}

}  // namespace

Runtimes::Runtimes(fs::path directory, std::string owner, int seconds, bool die_with_agent)
    : directory_(std::move(directory)), owner_(std::move(owner)), seconds_(seconds), die_with_agent_(die_with_agent)
{
    if (directory_.empty()) {
        std::string pattern = (fs::temp_directory_path() / "test-agent-XXXXXX").string();
        if (mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("cannot create a state directory");
        directory_ = pattern;
    }
    fs::create_directories(directory_);
    std::signal(SIGCHLD, SIG_IGN);  // no zombies
}

fs::path Runtimes::file(const std::string& session, const char* extension) const
{
    return directory_ / (percent_encode(session) + extension);
}

Runtime Runtimes::start(const std::string& session)
{
    if (const auto running = find(session)) return *running;
    const std::string name = process_name + session;
    const std::string seconds = seconds_ == 0 ? "infinity" : std::to_string(seconds_);
    const pid_t pid = fork();
    if (pid < 0) throw std::runtime_error("cannot start a runtime");
    if (pid == 0) become_runtime(name, seconds, die_with_agent_);
    // Until the exec the child still carries the agent's name, and nobody would recognize it.
    for (int i = 0; i < 2000 && !is_runtime_of(pid, session); ++i)
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    if (!is_runtime_of(pid, session)) throw std::runtime_error("the runtime did not start");
    write_file(file(session, ".owner"), owner_);
    write_file(file(session, ".pid"), std::to_string(pid));
    return {session, pid, false};
}

std::optional<Runtime> Runtimes::find(const std::string& session) const
{
    const pid_t pid = std::atoi(read_file(file(session, ".pid")).c_str());
    if (pid <= 0 || !is_runtime_of(pid, session)) return std::nullopt;
    return Runtime{session, pid, process_state(pid) == 'T'};
}

std::optional<Runtime> Runtimes::find_by_resource(const std::string& resource_id_wanted) const
{
    for (const auto& runtime : all())
        if (resource_id(runtime) == resource_id_wanted) return runtime;
    return std::nullopt;
}

void Runtimes::signal(const Runtime& runtime, int number) { kill(-runtime.pid, number); }

void Runtimes::suspend(const Runtime& runtime) { signal(runtime, SIGSTOP); }

void Runtimes::resume(const Runtime& runtime) { signal(runtime, SIGCONT); }

void Runtimes::stop(const Runtime& runtime)
{
    signal(runtime, SIGKILL);
    for (int i = 0; i < 1000 && is_runtime_of(runtime.pid, runtime.session); ++i)
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    std::error_code ignored;
    fs::remove(file(runtime.session, ".pid"), ignored);
    fs::remove(file(runtime.session, ".owner"), ignored);
}

std::vector<Runtime> Runtimes::all() const
{
    std::vector<Runtime> result;
    for (const auto& entry : fs::directory_iterator(directory_))
        if (entry.path().extension() == ".pid")
            if (const auto runtime = find(percent_decode(entry.path().stem().string()))) result.push_back(*runtime);
    return result;
}

std::vector<Runtime> Runtimes::own() const
{
    std::vector<Runtime> result;
    for (const auto& runtime : all())
        if (read_file(file(runtime.session, ".owner")) == owner_ + "\n") result.push_back(runtime);
    return result;
}

}  // namespace testhub
