#include "store.hpp"

#include "common/text.hpp"

#include <algorithm>
#include <sstream>

namespace testcluster {

namespace {

std::string trimmed(const std::string& text)
{
    const auto first = text.find_first_not_of(' '), last = text.find_last_not_of(' ');
    return first == std::string::npos ? "" : text.substr(first, last - first + 1);
}

// At commas outside of parentheses
std::vector<std::string> split(const std::string& text)
{
    std::vector<std::string> parts;
    std::string part;
    int depth = 0;
    for (const char c : text) {
        depth += c == '(' ? 1 : c == ')' ? -1 : 0;
        if (c == ',' && depth == 0) {
            parts.push_back(trimmed(part));
            part.clear();
        } else {
            part += c;
        }
    }
    parts.push_back(trimmed(part));
    return parts;
}

std::optional<Requirement> parse_requirement(const std::string& text)
{
    Requirement requirement;
    if (const auto open = text.find('('); open != std::string::npos) {
        if (text.back() != ')') return {};
        std::istringstream words(text.substr(0, open));
        std::string verb;
        words >> requirement.label >> verb;
        if (verb != "in" && verb != "notin") return {};
        requirement.wanted = verb == "in";
        requirement.values = split(text.substr(open + 1, text.size() - open - 2));
        return requirement;
    }
    if (const auto equals = text.find('='); equals != std::string::npos) {
        requirement.wanted = equals == 0 || text[equals - 1] != '!';
        requirement.label = trimmed(text.substr(0, requirement.wanted ? equals : equals - 1));
        requirement.values = {trimmed(text.substr(text.find_first_not_of('=', equals) == std::string::npos ? text.size() : text.find_first_not_of('=', equals)))};
    } else {
        requirement.wanted = text.empty() || text.front() != '!';
        requirement.label = requirement.wanted ? text : text.substr(1);
    }
    if (requirement.label.empty() || requirement.label.find(' ') != std::string::npos) return {};
    return requirement;
}

bool owned_by(const Json& object, const std::string& uid)
{
    const Json owners = object["metadata"].value("ownerReferences", Json::array());
    return std::any_of(owners.begin(), owners.end(), [&](const Json& owner) { return owner.value("uid", "") == uid; });
}

}  // namespace

bool Requirement::takes(const Json& labels) const
{
    const auto found = labels.find(label);
    const bool is_there = found != labels.end();
    if (values.empty()) return is_there == wanted;
    const bool among = is_there && std::find(values.begin(), values.end(), found->get<std::string>()) != values.end();
    return among == wanted;
}

std::optional<std::vector<Requirement>> parse_selector(const std::string& text)
{
    std::vector<Requirement> all;
    if (trimmed(text).empty()) return all;
    for (const auto& part : split(text)) {
        const auto requirement = parse_requirement(part);
        if (!requirement) return {};
        all.push_back(*requirement);
    }
    return all;
}

const Kind* Store::find_kind(const std::string& group, const std::string& version, const std::string& resource) const
{
    const auto found = std::find_if(kinds.begin(), kinds.end(), [&](const Kind& kind) {
        return kind.group == group && kind.version == version && kind.resource == resource;
    });
    return found == kinds.end() ? nullptr : &*found;
}

const Json& Store::put(const Kind& kind, Json object, const std::string& now)
{
    Json& metadata = object["metadata"];
    if (!kind.namespaced) metadata.erase("namespace");
    else if (!metadata.contains("namespace")) metadata["namespace"] = "default";
    if (!metadata.contains("uid")) metadata["uid"] = testhub::random_uuid();
    if (!metadata.contains("creationTimestamp")) metadata["creationTimestamp"] = now;
    metadata["resourceVersion"] = std::to_string(++revision_);
    object["kind"] = kind.kind;
    object["apiVersion"] = kind.api_version();
    return objects_[kind.qualified()][{metadata.value("namespace", ""), metadata.at("name")}] = std::move(object);
}

Json* Store::find(const Kind& kind, const Name& name)
{
    auto& of_kind = objects_[kind.qualified()];
    const auto found = of_kind.find(name);
    return found == of_kind.end() ? nullptr : &found->second;
}

Page Store::list(const Kind& kind, const std::string& space, const std::vector<Requirement>& selector, std::size_t limit)
{
    auto items = std::make_shared<std::vector<Json>>();
    for (const auto& [name, object] : objects_[kind.qualified()]) {
        if (!space.empty() && name.space != space) continue;
        const Json labels = object["metadata"].value("labels", Json::object());
        if (std::all_of(selector.begin(), selector.end(), [&](const Requirement& one) { return one.takes(labels); }))
            items->push_back(object);
    }
    return cut({std::move(items), 0, revision_}, limit);
}

std::optional<Page> Store::list_on(const std::string& token, std::size_t limit)
{
    const auto found = lists_.find(token);
    if (found == lists_.end()) return {};
    return cut(found->second, limit);
}

Page Store::cut(const List& list, std::size_t limit)
{
    Page page;
    page.revision = list.revision;
    const std::size_t end = limit == 0 ? list.items->size() : std::min(list.at + limit, list.items->size());
    page.items.assign(list.items->begin() + static_cast<std::ptrdiff_t>(list.at), list.items->begin() + static_cast<std::ptrdiff_t>(end));
    page.remaining = static_cast<std::int64_t>(list.items->size() - end);
    if (page.remaining > 0) {
        page.next = "eyJ2+/" + testhub::random_uuid() + "==";  // opaque, and not fit for a query as it is
        lists_[page.next] = {list.items, end, list.revision};
    }
    return page;
}

void Store::end(const Kind& kind, const Name& name, bool orphan, const std::string& now)
{
    Json* object = find(kind, name);
    if (object == nullptr) return;
    Json& metadata = (*object)["metadata"];
    if (!metadata.value("finalizers", Json::array()).empty()) {
        if (metadata.contains("deletionTimestamp")) return;
        metadata["deletionTimestamp"] = now;
        metadata["deletionGracePeriodSeconds"] = 0;
        metadata["resourceVersion"] = std::to_string(++revision_);
        return;
    }
    const std::string uid = metadata.at("uid");
    objects_[kind.qualified()].erase(name);
    ++revision_;
    gone(uid, orphan, now);
}

void Store::strip_finalizers(const Kind& kind, const Name& name, const std::string& now)
{
    Json* object = find(kind, name);
    if (object == nullptr) return;
    (*object)["metadata"].erase("finalizers");
    if ((*object)["metadata"].contains("deletionTimestamp")) end(kind, name, false, now);
}

void Store::gone(const std::string& uid, bool orphan, const std::string& now)
{
    std::vector<std::pair<Kind, Name>> owned;
    for (const Kind& kind : kinds)
        for (const auto& [name, object] : objects_[kind.qualified()])
            if (owned_by(object, uid)) owned.emplace_back(kind, name);
    for (const auto& [kind, name] : owned) {
        Json* object = find(kind, name);
        if (object == nullptr) continue;
        Json& owners = (*object)["metadata"]["ownerReferences"];
        owners.erase(std::remove_if(owners.begin(), owners.end(), [&](const Json& owner) { return owner.value("uid", "") == uid; }), owners.end());
        if (owners.empty() && !orphan) end(kind, name, false, now);
    }
}

}  // namespace testcluster
