#include "journal.hpp"

#include "../common/text.hpp"

#include <nlohmann/json.hpp>
#include <stdexcept>

namespace testhub {

namespace {

using Json = nlohmann::ordered_json;

std::string line_of(const Json& entry)
{
    return entry.dump(-1, ' ', false, Json::error_handler_t::replace) + '\n';
}

// The journal keeps real time: the hub's own clock may be shifted by a test.
std::string stamp() { return rfc3339(std::chrono::system_clock::now()); }

}  // namespace

Journal::~Journal()
{
    if (file_ != nullptr) std::fclose(file_);
}

void Journal::open(const std::string& path)
{
    file_ = std::fopen(path.c_str(), "ae");
    if (file_ == nullptr) throw std::runtime_error("cannot open log file " + path);
}

void Journal::request(const Request& request, int status, std::string_view fault)
{
    if (file_ == nullptr) return;
    Json entry{{"time", stamp()}, {"event", "request"}, {"method", request.method}};
    std::string target(request.path);
    if (!request.query.empty()) target.append("?").append(request.query);
    entry["path"] = target;
    entry["connection"] = request.connection;
    if (!request.idempotency_key.empty()) entry["idempotency_key"] = request.idempotency_key;
    if (!request.authorization.empty()) entry["authorized"] = true;  // never the token itself
    if (!request.body.empty()) {
        Json body = Json::parse(request.body, nullptr, false);
        entry["body"] = body.is_discarded() ? Json(request.body) : std::move(body);
    }
    entry["status"] = status;
    if (!fault.empty()) entry["fault"] = fault;
    write(line_of(entry));
}

void Journal::command(std::string_view command_id, std::string_view agent, std::string_view session,
                      std::string_view action, std::string_view outcome, std::string_view error)
{
    if (file_ == nullptr) return;
    Json entry{{"time", stamp()},      {"event", "command"}, {"command_id", command_id}, {"agent", agent},
               {"session_id", session}, {"action", action},   {"outcome", outcome}};
    if (!error.empty()) entry["error"] = error;
    write(line_of(entry));
}

void Journal::agent(std::string_view agent, std::string_view event)
{
    if (file_ == nullptr) return;
    write(line_of(Json{{"time", stamp()}, {"event", event}, {"agent", agent}}));
}

void Journal::error(std::string_view what)
{
    std::fprintf(stderr, "test-hub: %.*s\n", static_cast<int>(what.size()), what.data());
    if (file_ == nullptr) return;
    write(line_of(Json{{"time", stamp()}, {"event", "error"}, {"message", what}}));
}

void Journal::write(const std::string& line)
{
    const std::lock_guard lock(mutex_);
    std::fwrite(line.data(), 1, line.size(), file_);
    std::fflush(file_);
}

}  // namespace testhub
