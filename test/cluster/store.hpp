// The objects of a cluster, as etcd and the garbage collector behind an API server keep them.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

namespace testcluster {

using Json = nlohmann::json;

struct Kind {
    std::string group, version, resource, kind;
    bool namespaced = true;
    std::string api_version() const { return group.empty() ? version : group + "/" + version; }
    std::string qualified() const { return group.empty() ? resource : resource + "." + group; }  // deployments.apps
};

struct Name {
    std::string space, name;
    auto operator<=>(const Name&) const = default;
};

// A requirement of a label selector: app=x, app!=x, app in (x,y), app notin (x,y), app, !app
struct Requirement {
    std::string label;
    bool wanted = true;               // one of the values; else none of them
    std::vector<std::string> values;  // none: any
    bool takes(const Json& labels) const;
};
// Empty: it can't be parsed.
std::optional<std::vector<Requirement>> parse_selector(const std::string& text);

struct Page {
    std::vector<Json> items;
    std::string next;
    std::int64_t revision = 0, remaining = 0;
};

class Store {
public:
    std::vector<Kind> kinds;

    const Kind* find_kind(const std::string& group, const std::string& version, const std::string& resource) const;
    // Creates it, or writes it anew with another resource version; metadata that is missing is made up.
    const Json& put(const Kind&, Json object, const std::string& now);
    Json* find(const Kind&, const Name&);
    const std::map<Name, Json>& all(const Kind& kind) { return objects_[kind.qualified()]; }

    // The first page is of what is there now; the next ones are of the same moment, as long as the token lives.
    Page list(const Kind&, const std::string& space, const std::vector<Requirement>&, std::size_t limit);
    std::optional<Page> list_on(const std::string& token, std::size_t limit);  // empty: it has expired
    void expire_tokens() { lists_.clear(); }

    // The end of an object, now or when its finalizers are gone. What it owns ends, too, unless it is orphaned.
    void end(const Kind&, const Name&, bool orphan, const std::string& now);
    void strip_finalizers(const Kind&, const Name&, const std::string& now);

private:
    struct List {
        std::shared_ptr<const std::vector<Json>> items;
        std::size_t at;
        std::int64_t revision;
    };
    Page cut(const List&, std::size_t limit);
    void gone(const std::string& uid, bool orphan, const std::string& now);

    std::map<std::string, std::map<Name, Json>> objects_;  // by qualified resource
    std::map<std::string, List> lists_;                    // by the token of the next page
    std::int64_t revision_ = 1000;
};

}  // namespace testcluster
