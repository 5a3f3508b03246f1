#include "core/pulled.hpp"

#include "core/text.hpp"

namespace reconciler {

std::string overtaken_by(const QueuedCommand& command, const std::optional<Session>& now) {
  if (!now) return "the session is no more";
  // Given to another agent of the pool, it may still name its old one: that changes once the command is on record.
  if (now->agent != command.sent_to && now->agent != command.agent)
    return now->agent ? cat({"agent ", in_quotes(*now->agent), " has the session by now"}) : "the session names no agent any more";
  if (now->state != command.state) return cat({"the session is ", now->state, " by now"});
  if (now->runtime != command.runtime || now->created != command.created) return "the session is another one by now";
  return "";
}

ReportWorth worth_of_report(const std::string& state, const std::string& reported, const std::string& outcome) {
  if (reported == outcome) return ReportWorth::repeated;
  if (state == "withdrawn") return ReportWorth::late;
  if (state != "completed" && state != "failed") return ReportWorth::news;
  // Two processes of an agent, or two tries of a report: the first word comes last.
  return outcome == "accepted" ? ReportWorth::repeated : ReportWorth::late;
}

}  // namespace reconciler
