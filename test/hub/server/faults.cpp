#include "faults.hpp"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <stdexcept>
#include <utility>

namespace testhub {

namespace {

using Json = nlohmann::json;

constexpr std::array<std::pair<std::string_view, FaultKind>, 12> kinds{{
    {"delay_ms", FaultKind::delay_ms}, {"status", FaultKind::status}, {"garbage", FaultKind::garbage},
    {"ok_to_all", FaultKind::ok_to_all}, {"wrong_json", FaultKind::wrong_json}, {"half_body", FaultKind::half_body},
    {"reset", FaultKind::reset}, {"close_before_headers", FaultKind::close_before_headers},
    {"redirect", FaultKind::redirect}, {"big_body", FaultKind::big_body}, {"slow_bytes", FaultKind::slow_bytes},
    {"never_answer", FaultKind::never_answer},
}};

std::int64_t default_value(FaultKind kind)
{
    switch (kind) {
    case FaultKind::delay_ms: return 1000;
    case FaultKind::status: return 503;
    case FaultKind::big_body: return 16 << 20;
    case FaultKind::slow_bytes: return 50;  // ms between two bytes
    case FaultKind::redirect: return 302;
    default: return 0;
    }
}

// "status" with "value" or "status", or all in one word: "status 503", "redirect http://…".
FaultRule parse_rule(const Json& source)
{
    if (!source.is_object() || !source.contains("kind") || !source["kind"].is_string())
        throw std::invalid_argument("a fault rule is an object with a kind");
    static constexpr std::array<std::string_view, 11> fields{"match", "kind", "value", "body", "content_type",
                                                             "retry_after", "location", "times", "percent",
                                                             "executes", "matched"};
    std::string kind = source["kind"];
    std::string argument;
    if (const auto space = kind.find(' '); space != std::string::npos) {
        argument = kind.substr(space + 1);
        kind.resize(space);
    }
    FaultRule rule;
    std::string known;
    bool found = false;
    for (const auto& [name, value] : kinds) {
        if (name == kind) {
            rule.kind = value;
            found = true;
        }
        known.append(known.empty() ? "" : ", ").append(name);
    }
    if (!found) throw std::invalid_argument("unknown kind \"" + kind + "\", one of: " + known);
    for (const auto& [key, unused] : source.items())
        if (key != kind && std::find(fields.begin(), fields.end(), key) == fields.end())
            throw std::invalid_argument("unknown field \"" + key + "\" in a fault rule");

    rule.value = default_value(rule.kind);
    rule.location = source.value("location", "");
    if (rule.kind == FaultKind::redirect) {
        if (!argument.empty()) rule.location = argument;
        if (source.contains("redirect")) rule.location = source["redirect"];
        if (rule.location.empty()) throw std::invalid_argument("redirect needs a location");
    } else {
        if (!argument.empty()) rule.value = std::stoll(argument);
        if (source.contains(kind)) rule.value = source[kind];
    }
    if (source.contains("value")) rule.value = source["value"];
    if (source.contains("body")) rule.body = source["body"].is_string() ? source["body"].get<std::string>() : source["body"].dump();
    rule.content_type = source.value("content_type", "");
    if (source.contains("retry_after"))
        rule.retry_after = source["retry_after"].is_string() ? source["retry_after"].get<std::string>() : source["retry_after"].dump();
    if (source.contains("times") && !source["times"].is_null()) rule.times = source["times"].get<std::int64_t>();
    rule.percent = source.value("percent", 100.0);
    rule.executes = source.value("executes", false);
    const Json match = source.value("match", Json::object());
    for (const auto& [key, value] : match.items()) {
        if (key == "method") rule.method = value;
        else if (key == "path_prefix") rule.path_prefix = value;
        else if (key == "agent") rule.agent = value;
        else if (key == "body_contains") rule.body_contains = value;
        else throw std::invalid_argument("match takes method, path_prefix, agent and body_contains, not \"" + key + "\"");
    }
    return rule;
}

std::vector<FaultRule> parse_rules(const Json& source)
{
    std::vector<FaultRule> rules;
    if (source.is_object() && source.contains("rules")) return parse_rules(source["rules"]);
    if (source.is_array())
        for (const auto& one : source) rules.push_back(parse_rule(one));
    else
        rules.push_back(parse_rule(source));
    return rules;
}

bool fits(const FaultRule& rule, const Request& request)
{
    if (rule.times && *rule.times <= 0) return false;
    if (!rule.method.empty() && rule.method != request.method) return false;
    if (request.path.substr(0, rule.path_prefix.size()) != rule.path_prefix) return false;
    if (!rule.agent.empty() && rule.agent != request.agent()) return false;
    return rule.body_contains.empty() || request.body.find(rule.body_contains) != std::string_view::npos;
}

}  // namespace

std::string_view name_of(FaultKind kind)
{
    for (const auto& [name, value] : kinds)
        if (value == kind) return name;
    return "?";
}

Faults::Faults(std::uint64_t seed) : random_(seed != 0 ? seed : std::random_device{}()) {}

void Faults::replace(const Json& source)
{
    std::vector<FaultRule> rules = parse_rules(source);
    const std::lock_guard lock(mutex_);
    rules_ = std::move(rules);
    any_ = !rules_.empty();
}

void Faults::add(const Json& source)
{
    const std::vector<FaultRule> rules = parse_rules(source);
    const std::lock_guard lock(mutex_);
    rules_.insert(rules_.end(), rules.begin(), rules.end());
    any_ = !rules_.empty();
}

Json Faults::show() const
{
    const std::lock_guard lock(mutex_);
    Json list = Json::array();
    for (const auto& rule : rules_) {
        Json match = Json::object();
        if (!rule.method.empty()) match["method"] = rule.method;
        if (!rule.path_prefix.empty()) match["path_prefix"] = rule.path_prefix;
        if (!rule.agent.empty()) match["agent"] = rule.agent;
        if (!rule.body_contains.empty()) match["body_contains"] = rule.body_contains;
        Json one{{"match", match}, {"kind", name_of(rule.kind)}, {"value", rule.value}, {"percent", rule.percent},
                 {"executes", rule.executes}, {"matched", rule.matched}};
        one["times"] = rule.times ? Json(*rule.times) : Json();
        if (!rule.location.empty()) one["location"] = rule.location;
        list.push_back(std::move(one));
    }
    return list;
}

FaultPlan Faults::plan(const Request& request)
{
    FaultPlan plan;
    if (!any_.load(std::memory_order_relaxed)) return plan;
    const std::lock_guard lock(mutex_);
    for (auto& rule : rules_) {
        if (!fits(rule, request)) continue;
        if (rule.percent < 100 && std::uniform_real_distribution<>(0, 100)(random_) >= rule.percent) continue;
        ++rule.matched;
        if (rule.times) --*rule.times;
        if (rule.kind != FaultKind::delay_ms) {
            plan.broken = rule;
            break;
        }
        plan.delay += std::chrono::milliseconds(rule.value);
    }
    return plan;
}

}  // namespace testhub
