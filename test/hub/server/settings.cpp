#include "settings.hpp"

#include "../common/command_line.hpp"
#include "../common/text.hpp"

namespace testhub {

Settings parse_settings(int argc, char** argv)
{
    const CommandLine line(
        argc, argv,
        {{"listen", "127.0.0.1:PORT", "address of API, agents and control; port 0 = pick one"},
         {"listen-shared", "127.0.0.1:PORT", "one more address, shared with other hubs (SO_REUSEPORT)"},
         {"port-file", "FILE", "write host:port there once listening"},
         {"profile", "P", "standard (/v1), streamspace (/api/v1) or both"},
         {"database", "CONNINFO", "StreamSpace's tables; in memory without"},
         {"register", "on-connect|never", "give a connecting agent its row in agents, or answer 404"},
         {"new-agents", "approved|pending", "approval of agents that register"},
         {"write-sessions", "BOOL", "agents' status messages update the sessions table (true)"},
         {"token", "TOKEN", "Bearer token that the API demands"},
         {"instance", "ID", "instance id, default a random uuid"},
         {"scope", "fleet|instance", "what the agent list speaks for"},
         {"complete", "BOOL", "whether the agent list says it is complete"},
         {"log", "FILE", "append one JSON line per request and per command outcome"},
         {"fault", "JSON", "a fault rule or a list of them; may be repeated"},
         {"parent-watch", "", "exit when the parent process dies"},
         {"threads", "N", "threads (1)"},
         {"latency-ms", "N", "delay every API answer"},
         {"coalesce-ms", "N", "join commands to an agent within N ms in one frame, as StreamSpace does"},
         {"stale-seconds", "N", "drop an agent without heartbeat for N s (45; 0 = never)"},
         {"keep-commands", "N", "commands remembered (500000)"},
         {"seed", "N", "seed of faults that have a percentage"}});

    Settings settings;
    settings.listen = line.text("listen", settings.listen);
    settings.listen_shared = line.text("listen-shared");
    settings.port_file = line.text("port-file");
    const std::string profile = line.choice("profile", "both", {"standard", "streamspace", "both"});
    settings.standard = profile != "streamspace";
    settings.streamspace = profile != "standard";
    settings.database = line.text("database");
    if (!settings.database.empty() && !settings.streamspace)
        throw std::invalid_argument("--database belongs to the streamspace profile");
    settings.register_on_connect = line.choice("register", "on-connect", {"on-connect", "never"}) == "on-connect";
    settings.approve_new_agents = line.choice("new-agents", "approved", {"approved", "pending"}) == "approved";
    settings.write_sessions = line.truth("write-sessions", true);
    settings.token = line.text("token");
    settings.instance = line.text("instance");
    if (settings.instance.empty()) settings.instance = random_uuid();
    settings.scope = line.choice("scope", "fleet", {"fleet", "instance"});
    settings.complete = line.truth("complete", true);
    settings.log_file = line.text("log");
    settings.faults = line.all("fault");
    settings.parent_watch = line.has("parent-watch");
    settings.threads = static_cast<int>(line.number("threads", 1));
    if (settings.threads < 1 || settings.threads > 64) throw std::invalid_argument("--threads must be 1 to 64");
    settings.latency = std::chrono::milliseconds(static_cast<int>(line.number("latency-ms", 0)));
    settings.coalesce = std::chrono::milliseconds(static_cast<int>(line.number("coalesce-ms", 0)));
    settings.stale_after = std::chrono::seconds(static_cast<int>(line.number("stale-seconds", 45)));
    settings.keep_commands = static_cast<std::size_t>(line.number("keep-commands", 500'000));
    settings.seed = static_cast<std::uint64_t>(line.number("seed", 0));
    return settings;
}

}  // namespace testhub
