#include "database.hpp"

#include "../common/text.hpp"

#include <libpq-fe.h>

#include <cstdlib>
#include <memory>
#include <utility>

namespace testhub {

namespace {

struct ClearResult {
    void operator()(PGresult* result) const { PQclear(result); }
};

std::string capacity_document(const AgentProfile& profile)
{
    return R"({"maxSessions":)" + std::to_string(profile.capacity.value_or(100)) + "}";
}

std::string array_literal(const std::vector<std::string>& items)
{
    std::string out = "{";
    for (const auto& item : items) {
        if (out.size() > 1) out += ',';
        out += '"';
        for (const char c : item) {
            if (c == '"' || c == '\\') out += '\\';
            out += c;
        }
        out += '"';
    }
    return out + "}";
}

}  // namespace

Database::Database(std::string conninfo, const Clock& clock, Journal& journal)
    : conninfo_(std::move(conninfo)), clock_(clock), journal_(journal), thread_([this] { run(); })
{
}

Database::~Database()
{
    {
        const std::lock_guard lock(mutex_);
        stop_ = true;
    }
    wake_.notify_all();
    thread_.join();
    PQfinish(connection_);
}

void Database::later(std::function<void(Database&)> job)
{
    {
        const std::lock_guard lock(mutex_);
        jobs_.push_back(std::move(job));
    }
    wake_.notify_one();
}

void Database::run()
{
    for (;;) {
        std::function<void(Database&)> job;
        {
            std::unique_lock lock(mutex_);
            wake_.wait(lock, [this] { return stop_ || !jobs_.empty(); });
            if (jobs_.empty()) return;
            job = std::move(jobs_.front());
            jobs_.pop_front();
        }
        try {
            job(*this);
        } catch (const std::exception& e) {
            journal_.error(e.what());
        }
    }
}

Database::Rows Database::query(const std::string& sql, const Values& values, int* affected)
{
    if (connection_ != nullptr && PQstatus(connection_) != CONNECTION_OK) {
        PQfinish(connection_);
        connection_ = nullptr;
    }
    if (connection_ == nullptr) {
        connection_ = PQconnectdb(conninfo_.c_str());
        if (PQstatus(connection_) != CONNECTION_OK) throw DatabaseError(PQerrorMessage(connection_));
        // As in a container: everything in UTC.
        PQclear(PQexec(connection_, "SET TimeZone = 'UTC'; SET application_name = 'streamspace-api'"));
    }
    std::vector<const char*> raw;
    for (const auto& value : values) raw.push_back(value ? value->c_str() : nullptr);
    const std::unique_ptr<PGresult, ClearResult> result(PQexecParams(
        connection_, sql.c_str(), static_cast<int>(raw.size()), nullptr, raw.data(), nullptr, nullptr, 0));
    const auto status = PQresultStatus(result.get());
    if (status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK)
        throw DatabaseError(std::string("pq: ") + PQresultErrorMessage(result.get()));
    if (affected != nullptr) *affected = std::atoi(PQcmdTuples(result.get()));
    Rows rows(static_cast<std::size_t>(PQntuples(result.get())));
    for (std::size_t r = 0; r < rows.size(); ++r)
        for (int c = 0; c < PQnfields(result.get()); ++c) {
            if (PQgetisnull(result.get(), static_cast<int>(r), c)) rows[r].emplace_back();
            else rows[r].emplace_back(PQgetvalue(result.get(), static_cast<int>(r), c));
        }
    return rows;
}

bool Database::has_approval()
{
    if (!has_approval_)
        has_approval_ = !query("SELECT 1 FROM pg_attribute WHERE attrelid = 'agents'::regclass AND attname = "
                               "'approval_status' AND NOT attisdropped", {}).empty();
    return *has_approval_;
}

std::vector<AgentRow> Database::select_agents(const std::string& where, const Values& values)
{
    static const std::string format = R"('YYYY-MM-DD"T"HH24:MI:SS.US"Z"')";
    const Rows rows = query("SELECT id, agent_id, platform, region, status, capacity, to_char(last_heartbeat, " + format +
                            "), metadata, " + (has_approval() ? "approval_status" : "'approved'") +
                            ", to_char(created_at, " + format + "), to_char(updated_at, " + format +
                            ") FROM agents " + where + " ORDER BY created_at, agent_id", values);
    std::vector<AgentRow> result;
    for (const auto& r : rows)
        result.push_back({r[0].value_or(""), r[1].value_or(""), r[2].value_or(""), r[3], r[4], r[5], r[6], r[7], r[8],
                          r[9].value_or(""), r[10].value_or("")});
    return result;
}

std::vector<AgentRow> Database::agents(const std::string& platform, const std::string& status, const std::string& region)
{
    return select_agents("WHERE ($1 = '' OR platform = $1) AND ($2 = '' OR status = $2) AND ($3 = '' OR region = $3)",
                         {platform, status, region});
}

std::optional<AgentRow> Database::agent(const std::string& agent_id)
{
    auto rows = select_agents("WHERE agent_id = $1", {agent_id});
    if (rows.empty()) return std::nullopt;
    return std::move(rows.front());
}

CommandRow Database::insert_command(const CommandOrder& order, const std::optional<std::string>& payload)
{
    const std::string now = rfc3339(clock_.now());
    const Rows rows = query("INSERT INTO agent_commands (command_id, agent_id, session_id, action, payload, status, "
                            "created_at) VALUES ($1, $2, $3, $4, $5, 'pending', $6) RETURNING id",
                            {order.command_id, order.agent,
                             order.session.empty() ? std::nullopt : std::optional(order.session), order.action, payload,
                             now});
    return {rows.at(0).at(0).value_or(""), now};
}

// updated_at is always set, as upstream does. Where the column is missing each of these fails and the command stays
// pending for ever: also as upstream.
void Database::command_progress(const std::string& command_id, const std::string& agent, CommandStatus status,
                                const std::string& error)
{
    const std::string now = rfc3339(clock_.now());
    switch (status) {
    case CommandStatus::accepted:
        break;
    case CommandStatus::sent:
        query("UPDATE agent_commands SET status = 'sent', sent_at = $1, updated_at = $1 WHERE command_id = $2",
              {now, command_id});
        break;
    case CommandStatus::acknowledged:
        query("UPDATE agent_commands SET status = 'ack', acknowledged_at = $1, updated_at = $1 "
              "WHERE command_id = $2 AND agent_id = $3", {now, command_id, agent});
        break;
    case CommandStatus::completed:
        query("UPDATE agent_commands SET status = 'completed', completed_at = $1, updated_at = $1 "
              "WHERE command_id = $2 AND agent_id = $3", {now, command_id, agent});
        break;
    case CommandStatus::failed:
        query("UPDATE agent_commands SET status = 'failed', error_message = $1, updated_at = $2 "
              "WHERE command_id = $3 AND agent_id = $4", {error, now, command_id, agent});
        break;
    }
}

void Database::command_undelivered(const std::string& command_id)
{
    query("UPDATE agent_commands SET status = 'failed', error_message = 'agent is not connected', updated_at = $1 "
          "WHERE command_id = $2", {rfc3339(clock_.now()), command_id});
}

void Database::insert_agent(const AgentProfile& profile, const std::string& status, const std::string& approval)
{
    Values values{profile.id, profile.platform, profile.region, status, capacity_document(profile), rfc3339(clock_.now())};
    std::string columns = "agent_id, platform, region, status, capacity, last_heartbeat, created_at, updated_at";
    std::string places = "$1, $2, $3, $4, $5, $6, $6, $6";
    if (has_approval()) {
        columns += ", approval_status";
        places += ", $7";
        values.emplace_back(approval);
    }
    query("INSERT INTO agents (" + columns + ") VALUES (" + places + ") ON CONFLICT (agent_id) DO NOTHING", values);
}

void Database::agent_online(const AgentProfile& profile, bool insert)
{
    if (insert) insert_agent(profile, "online", "approved");
    query("UPDATE agents SET status = 'online', last_heartbeat = $1, updated_at = $1 WHERE agent_id = $2",
          {rfc3339(clock_.now()), profile.id});
}

// Every heartbeat says online: it erases `draining`, as upstream.
void Database::agent_heartbeat(const std::string& agent_id, const std::string& capacity_document)
{
    query("UPDATE agents SET status = 'online', last_heartbeat = $1, updated_at = $1, "
          "capacity = coalesce($2::jsonb, capacity) WHERE agent_id = $3",
          {rfc3339(clock_.now()), capacity_document.empty() ? std::nullopt : std::optional(capacity_document), agent_id});
}

void Database::heartbeat_all(const std::vector<std::string>& agent_ids)
{
    query("UPDATE agents SET status = 'online', last_heartbeat = $1, updated_at = $1 WHERE agent_id = ANY ($2::text[])",
          {rfc3339(clock_.now()), array_literal(agent_ids)});
}

void Database::agent_offline(const std::string& agent_id)
{
    query("UPDATE agents SET status = 'offline', updated_at = $1 WHERE agent_id = $2",
          {rfc3339(clock_.now()), agent_id});
}

bool Database::approve(const std::string& agent_id)
{
    int affected = 0;
    query("UPDATE agents SET approval_status = 'approved', updated_at = $1 WHERE agent_id = $2 AND approval_status = "
          "'pending'", {rfc3339(clock_.now()), agent_id}, &affected);
    return affected == 1;
}

// No guard on the state, as upstream: a late report resurrects whatever the row says.
void Database::session_status(const std::string& session, const std::string& state, const std::string& url,
                              const std::string& pod)
{
    query("UPDATE sessions SET state = $1, url = $2, pod_name = $3, updated_at = $4 WHERE id = $5",
          {state, url, pod, rfc3339(clock_.now()), session});
}

}  // namespace testhub
