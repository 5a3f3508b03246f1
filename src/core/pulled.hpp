// Commands that agents fetch instead of being called: whether one still stands when its agent comes for it, and what a
// report about it is worth. Pure. Source: table reconciler.command.
#pragma once

#include <optional>
#include <string>

#include "core/session.hpp"

namespace reconciler {

// What a command was queued for.
struct QueuedCommand {
  std::string sent_to;               // the agent that fetches it: the session's, or another one of its pool
  std::string state;                 // the session's row, when it was queued
  std::optional<std::string> agent, runtime, created;
};

// Why it must not be carried out any more, as the session's row is now (empty: there is none); '' = it stands.
std::string overtaken_by(const QueuedCommand&, const std::optional<Session>& now);

enum class ReportWorth { news, repeated, late };
// `state` of the command: queued, leased, accepted, completed, failed, withdrawn; `reported`: by its agent before,
// since it was handed out last.
ReportWorth worth_of_report(const std::string& state, const std::string& reported, const std::string& outcome);

}  // namespace reconciler
