#include "postgres/pull_hub.hpp"

#include "core/json.hpp"
#include "core/session.hpp"
#include "postgres/clock.hpp"
#include "postgres/settings.hpp"
#include "postgres/spi.hpp"

namespace reconciler {
namespace {

using Texts = std::vector<std::optional<std::string>>;

// What the application sent is JSON or whatever a text column held; jsonb takes no NUL.
std::optional<std::string> payload_of(const CommandRequest& command) {
  if (command.payload.empty() || command.payload.find("\\u0000") != std::string::npos) return std::nullopt;
  return nlohmann::json::accept(command.payload) ? command.payload : nlohmann::json(command.payload).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

Delivery answered(CommandMeaning meaning, std::string detail) {
  Delivery delivery;
  delivery.outcome = Delivery::Outcome::answered;
  delivery.meaning = meaning;
  delivery.detail = std::move(detail);
  return delivery;
}

// Somebody holds its row, or a command of another pass came first: nothing was queued, and the next pass tries again.
bool in_the_way(const PostgresError& e) { return e.is("55P03") || e.is("40P01") || e.is("23505"); }

}  // namespace

std::map<std::string, Sighting> PullHub::look(const std::vector<std::string>& ids) {
  std::map<std::string, Sighting> sightings;
  for (const std::string& id : ids) {
    Sighting& sighting = sightings[id];
    sighting.kind = Sighting::Kind::answered;
    sighting.agent.id = id;
  }
  if (ids.empty()) return sightings;
  transactions_.run("reading heartbeats", [&] {
    as_extension_owner([&] {
      for (Rows::Row row : query_batch("SELECT a.agent_id, a.heartbeat, a.incarnation FROM (SELECT u.* FROM unnest($1::text[]) AS u(agent) OFFSET 0) AS t JOIN reconciler.agent a ON a.agent_id = t.agent", {Param::texts(ids)})) {
        AgentAnswer& agent = sightings.at(row.text("agent_id")).agent;
        agent.heartbeat = row.maybe_time("heartbeat");
        agent.incarnation = row.text("incarnation");
      }
    });
  });
  return sightings;
}

void PullHub::dispatch(const Next& next, const Done& done) {
  std::size_t index = 0;
  for (std::vector<Dispatch> commands = next(); !commands.empty(); commands = next())
    for (const Delivery& delivery : queue(commands)) done(index++, delivery);
}

// All in one transaction; one by one where somebody is in the way of some.
std::vector<Delivery> PullHub::queue(const std::vector<Dispatch>& commands) {
  try {
    return queue_at_once(commands);
  } catch (const PostgresError& e) {
    if (!in_the_way(e)) throw;
    if (commands.size() == 1) {
      Delivery none;
      none.detail = e.message;
      return {none};
    }
  }
  std::vector<Delivery> deliveries;
  for (const Dispatch& command : commands) deliveries.push_back(queue({command}).front());
  return deliveries;
}

std::vector<Delivery> PullHub::queue_at_once(const std::vector<Dispatch>& commands) {
  return transactions_.run("queueing commands", [&] {
    return as_extension_owner([&] {
      const Time at = database_now();
      const auto missing = absent(commands, at);
      std::vector<const Dispatch*> sends;
      for (const Dispatch& one : commands)
        if (!missing.contains(one.command.agent)) sends.push_back(&one);
      withdraw_others(sends, at);
      const std::set<std::string> queued = insert(sends, at);
      std::vector<Delivery> deliveries;
      for (const Dispatch& one : commands) {
        const std::string& agent = one.command.agent;
        if (const auto found = missing.find(agent); found != missing.end()) {
          const bool unknown = found->second == CommandMeaning::unknown_agent;
          deliveries.push_back(answered(found->second, "agent \"" + agent + "\" " + (unknown ? "is not registered" : "fetches no commands now")));
        } else if (queued.contains(one.command.command_id)) {
          deliveries.push_back(answered(CommandMeaning::accepted, ""));
          deliveries.back().hub_command_id = one.command.command_id;
        } else {
          deliveries.emplace_back();  // the session is another matter by now: not_sent
        }
      }
      return deliveries;
    });
  });
}

// Agents of which nothing was heard lately, and why they get nothing.
std::map<std::string, CommandMeaning> PullHub::absent(const std::vector<Dispatch>& commands, Time at) {
  std::map<std::string, CommandMeaning> missing;
  for (const Dispatch& one : commands) missing[one.command.agent] = CommandMeaning::unknown_agent;
  std::vector<std::string> agents;
  for (const auto& [agent, unused] : missing) agents.push_back(agent);
  for (Rows::Row row : query_batch("SELECT a.agent_id, a.connected AND coalesce(a.heartbeat > $2, false) AS here FROM (SELECT u.* FROM unnest($1::text[]) AS u(agent) OFFSET 0) AS t JOIN reconciler.agent a ON a.agent_id = t.agent",
                                   {Param::texts(agents), Param::time(at - fresh_)})) {
    if (row.boolean("here")) missing.erase(row.text("agent_id"));
    else missing[row.text("agent_id")] = CommandMeaning::not_connected;
  }
  return missing;
}

// An earlier try whose time has passed: its agent may still work on it, and then reports late.
void PullHub::withdraw_others(const std::vector<const Dispatch*>& sends, Time at) {
  Texts sessions, commands;
  for (const Dispatch* one : sends) sessions.push_back(one->command.session), commands.push_back(one->command.command_id);
  query_batch("UPDATE reconciler.command c SET state = 'withdrawn', detail = 'another try was sent', finished_at = $2 FROM (SELECT $1::int AS binding, u.* FROM unnest($3::text[], $4::text[]) AS u(session, command) OFFSET 0) AS t"
              " WHERE c.binding_id = t.binding AND c.session_id = t.session AND c.finished_at IS NULL AND c.command_id <> t.command",
              {Param::integer(binding_id_), Param::time(at), Param::texts(sessions), Param::texts(commands)});
}

// Those that are on record afterwards. A command of a claim that was taken over meanwhile is not queued.
std::set<std::string> PullHub::insert(const std::vector<const Dispatch*>& sends, Time at) {
  Texts commands, sessions, agents, actions, reasons, payloads;
  std::vector<std::int64_t> attempts;
  std::vector<std::optional<Time>> from, created;
  for (const Dispatch* one : sends) {
    const CommandRequest& c = one->command;
    commands.push_back(c.command_id), sessions.push_back(c.session), agents.push_back(c.agent), actions.push_back(c.action), reasons.push_back(c.reason);
    payloads.push_back(payload_of(c)), attempts.push_back(c.attempt), from.push_back(at + one->not_before);
    created.push_back(at + std::chrono::microseconds(created.size()));  // they are handed out as they were sent
  }
  query_batch("INSERT INTO reconciler.command (command_id, binding_id, session_id, agent_id, action, reason, payload, attempt, not_before, created, platform_resource_id, session_state, session_agent, session_created, owed)"
              " SELECT t.command, t.binding, t.session, t.agent, t.action, t.reason, t.payload::jsonb, t.attempt, t.not_before, t.created, e.runtime_id, e.state, e.agent_id, e.created, e.owed IS NOT NULL"
              " FROM (SELECT $1::int AS binding, u.* FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::bigint[], $9::timestamptz[], $10::timestamptz[])"
              "   AS u(command, session, agent, action, reason, payload, attempt, not_before, created) OFFSET 0) AS t"
              " JOIN reconciler.episode e ON e.binding_id = t.binding AND e.session_id = t.session AND e.command_id = t.command"
              " ON CONFLICT (command_id) DO NOTHING",
              {Param::integer(binding_id_), Param::texts(commands), Param::texts(sessions), Param::texts(agents), Param::texts(actions), Param::texts(reasons), Param::texts(payloads),
               Param::integers(attempts), Param::times(from), Param::times(created)});
  std::set<std::string> queued;
  for (Rows::Row row : query_batch("SELECT command_id FROM reconciler.command WHERE command_id = ANY ($1)", {Param::texts(commands)})) queued.insert(row.text("command_id"));
  return queued;
}

std::map<std::string, Profile::CommandState> PullHub::command_progress(const std::vector<std::string>& ids) {
  std::map<std::string, Profile::CommandState> known;
  transactions_.run("reading what became of commands", [&] {
    as_extension_owner([&] {
      for (Rows::Row row : query_batch("SELECT command_id, state, detail FROM reconciler.command WHERE command_id = ANY ($1) AND state <> 'withdrawn'", {Param::texts(ids)})) {
        const std::string state = row.text("state");
        const CommandProgress progress = state == "completed" ? CommandProgress::completed : state == "failed" ? CommandProgress::failed : CommandProgress::open;
        known[row.text("command_id")] = {progress, row.text("detail")};
      }
    });
  });
  return known;
}

// What an agent's open transaction holds is left to the next pass.
void tidy_commands(int binding_id, Time at) {
  query("UPDATE reconciler.command SET state = 'withdrawn', detail = 'the session is another matter by now', finished_at = $2 WHERE command_id IN"
        " (SELECT c.command_id FROM reconciler.command c WHERE c.binding_id = $1 AND c.finished_at IS NULL AND CASE WHEN c.owed THEN c.created < $3"
        "   ELSE NOT EXISTS (SELECT FROM reconciler.episode e WHERE e.binding_id = c.binding_id AND e.session_id = c.session_id AND c.command_id IN (e.command_id, e.hub_command_id)) END"
        "  LIMIT 1000 FOR UPDATE SKIP LOCKED)",
        {Param::integer(binding_id), Param::time(at), Param::time(at - owed_for)});
  if (const Duration keep = settings::event_retention(); keep.count() > 0)
    query("DELETE FROM reconciler.command WHERE command_id IN (SELECT command_id FROM reconciler.command WHERE finished_at < $1 ORDER BY finished_at LIMIT 1000 FOR UPDATE SKIP LOCKED)", {Param::time(at - keep)});
}

Fetching who_fetches() {
  const Rows rows = as_extension_owner([] {
    return query("SELECT count(*) AS agents, count(*) FILTER (WHERE heartbeat > $1) AS fetching, (SELECT count(*) FROM reconciler.command WHERE finished_at IS NULL) AS open FROM reconciler.agent",
                 {Param::time(database_now() - minutes(2))});
  });
  const Rows::Row row = rows[0];
  return {"agents fetch their commands here: " + row.text("fetching") + " of " + row.text("agents") + " registered ones did in the last two minutes, " + row.text("open") + " commands are open", row.integer("fetching") > 0};
}

}  // namespace reconciler
