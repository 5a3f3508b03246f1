#include "settings.hpp"

#include "../common/command_line.hpp"
#include "../common/text.hpp"

#include <algorithm>
#include <cmath>

namespace testhub {

namespace {

std::chrono::milliseconds seconds(const CommandLine& line, std::string_view name, double fallback)
{
    const double value = line.number(name, fallback);
    if (value <= 0) throw std::invalid_argument("--" + std::string(name) + " must be positive");
    return std::chrono::milliseconds(std::max(1L, std::lround(value * 1000)));
}

}  // namespace

AgentSettings parse_agent_settings(int argc, char** argv)
{
    const CommandLine line(
        argc, argv,
        {{"hub", "127.0.0.1:PORT", "address of the hub"},
         {"id", "ID", "agent id"},
         {"incarnation", "X", "one life of the agent, default a random uuid"},
         {"pool", "P", "agent pool"},
         {"platform", "NAME", "kubernetes"},
         {"region", "R", "region"},
         {"capacity", "N", "most sessions"},
         {"heartbeat-seconds", "S", "30, fractions allowed"},
         {"retry-seconds", "S", "first reconnect after 0.2 s, then doubling up to 5 s"},
         {"approved-check", "none|register", "register and wait for approval before connecting"},
         {"register-seconds", "S", "pause between two registrations while not approved (30)"},
         {"state-dir", "DIR", "pid files of runtimes; agents of one cluster share it"},
         {"runtime-seconds", "N", "a runtime ends by itself after N s (7200; 0 = never)"},
         {"report-sessions", "BOOL", "heartbeats list the runtimes (true)"},
         {"draining", "", "heartbeats say draining"},
         {"parent-watch", "", "exit when the parent process dies"},
         {"kill-runtimes-on-exit", "", "runtimes end with the agent"},
         {"ignore-stops", "", "acknowledge stops, never act"},
         {"fail-stops", "TEXT", "answer stops with this error"},
         {"die-on-stop", "", "kill itself on receiving a stop"},
         {"ack-only", "", "acknowledge commands, never act"},
         {"delay-ms", "N", "wait before acting"},
         {"mute", "", "act, but send nothing"}});

    AgentSettings settings;
    const std::string hub = line.text("hub");
    const auto colon = hub.rfind(':');
    if (colon == std::string::npos) throw std::invalid_argument("--hub HOST:PORT is needed");
    settings.host = hub.substr(0, colon);
    settings.port = hub.substr(colon + 1);
    settings.id = line.text("id");
    if (settings.id.empty()) throw std::invalid_argument("--id is needed");
    settings.incarnation = line.text("incarnation");
    if (settings.incarnation.empty()) settings.incarnation = random_uuid();
    settings.pool = line.text("pool");
    settings.platform = line.text("platform", "kubernetes");
    settings.region = line.text("region");
    if (line.has("capacity")) settings.capacity = static_cast<int>(line.number("capacity", 0));
    settings.heartbeat = seconds(line, "heartbeat-seconds", 30);
    settings.first_retry = seconds(line, "retry-seconds", 0.2);
    settings.longest_retry = std::max(settings.longest_retry, settings.first_retry);
    settings.register_first = line.choice("approved-check", "none", {"none", "register"}) == "register";
    settings.register_every = seconds(line, "register-seconds", 30);
    settings.state_dir = line.text("state-dir");
    settings.runtime_seconds = static_cast<int>(line.number("runtime-seconds", 7200));
    settings.report_sessions = line.truth("report-sessions", true);
    settings.draining = line.has("draining");
    settings.parent_watch = line.has("parent-watch");
    settings.kill_runtimes_on_exit = line.has("kill-runtimes-on-exit");
    settings.ignore_stops = line.has("ignore-stops");
    if (line.has("fail-stops")) settings.fail_stops = line.text("fail-stops");
    settings.die_on_stop = line.has("die-on-stop");
    settings.ack_only = line.has("ack-only");
    settings.mute = line.has("mute");
    settings.delay = std::chrono::milliseconds(static_cast<int>(line.number("delay-ms", 0)));
    return settings;
}

}  // namespace testhub
